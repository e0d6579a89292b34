"""Offline datasets: our HDF5 layout, converters, and the resident store that training draws from."""
