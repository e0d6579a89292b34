"""Files: atomic writes and hashes."""
