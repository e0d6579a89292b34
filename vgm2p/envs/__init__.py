"""Environments: one file and one yaml each, vectorised, with observations built as the data build theirs."""
