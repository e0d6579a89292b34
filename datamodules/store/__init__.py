"""Batches for training, from a dataset in memory or mapped from disk."""
