"""A run on disk: its folder, checkpoints, lock, fingerprint, and the point to resume from."""
