"""Algorithms: one file each, written as equations over (S, ..., N, A); found by Hydra's `_target_`."""
