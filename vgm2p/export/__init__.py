"""Trained policies as files that other programs can read."""
