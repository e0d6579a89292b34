"""Where batches come from: a dataset in memory or mapped from disk."""
