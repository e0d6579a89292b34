"""From Hydra's configuration to objects: composing, checking, and building by `_target_`."""
