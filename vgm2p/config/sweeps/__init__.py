"""Sweeps: composes their cells, and starts them on this machine, with Slurm or with Ray, or in a search."""
