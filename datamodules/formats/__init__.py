"""Readers for datasets of other programs: one file per format, and one conversion to our layout (`convert.py`)."""
