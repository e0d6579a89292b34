"""Files (atomic writes, hashes), child processes, and text for the terminal."""
