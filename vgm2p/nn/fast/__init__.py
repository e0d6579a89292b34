"""Hand-written forward and backward passes, each with a plain fallback that tests compare."""
