"""Vectorised environments. Data and environments build the agents' observations with the same code."""
