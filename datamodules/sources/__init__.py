"""Where files come from: published, recorded, the hub, the catalogue."""
