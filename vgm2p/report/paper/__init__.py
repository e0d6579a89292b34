"""The tables of the paper, with our runs beside the published numbers."""
