"""Softmax over few numbers. Tests compare it with torch's own.

On a CPU, torch's kernel is several times as fast if the number of entries is a multiple of the vector width. So rows
are filled up with entries of probability 0. Each row is computed by itself: its result does not depend on other rows.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

LANES = 16  # float32 numbers in a vector of AVX-512; a multiple of those in smaller vectors


def softmax(logits: Tensor) -> Tensor:
    """Return the softmax over the last axis: (..., A) -> (..., A)."""
    return torch.softmax(_filled_up(logits), dim=-1)[..., : logits.shape[-1]]


def log_softmax(logits: Tensor) -> Tensor:
    """Return the logarithm of the softmax over the last axis: (..., A) -> (..., A)."""
    return F.log_softmax(_filled_up(logits), dim=-1)[..., : logits.shape[-1]]


def _filled_up(logits: Tensor) -> Tensor:
    missing = -logits.shape[-1] % LANES
    return logits if logits.is_cuda or not missing else F.pad(logits, (0, missing), value=-torch.inf)
