"""Runs what Hydra has composed: a single run, or the cells of a sweep, with a plan before and a table after."""
