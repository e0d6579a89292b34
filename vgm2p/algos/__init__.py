"""Algorithms, one file each: equations on tensors (S, ..., N, A). `_target_` in `conf/algo/` names the class."""
