"""Speed as ratios in one run: `python -m vgm2p bench step|loop|rollout|act|data`. Needs torch and numpy alone."""
