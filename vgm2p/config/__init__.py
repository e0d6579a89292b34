"""Where Hydra ends: composing, checks, and building by `_target_`."""
