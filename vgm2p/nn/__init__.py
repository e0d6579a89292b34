"""Network bodies whose parameters carry a leading seed axis S (and, for ensembles, a member axis C)."""
