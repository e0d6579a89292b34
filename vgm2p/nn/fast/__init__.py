"""Hand-written forward and backward passes. Tests compare each with a plain implementation."""
