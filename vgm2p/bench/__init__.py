"""Speed as ratios in one run: `python -m vgm2p bench step|loop|rollout|data`. Needs torch and numpy alone."""
