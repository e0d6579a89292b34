"""What lies on disk: the run folder, checkpoints, the lock, the point to resume from, the fingerprint."""
