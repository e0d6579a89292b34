"""Networks whose parameters have a leading seed axis S, and in ensembles a member axis C after it."""
