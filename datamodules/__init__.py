"""Offline datasets: our HDF5 layout, sources and converters of files, and the store that training draws from."""
