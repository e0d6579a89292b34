"""The functions of `vgm2p` for Python programs (docs/python.md)."""
