"""A verdict on actions, whatever gives it, and its comparison with the policy's own actions.

A verdict is a map `rate` from observations (S, ..., O) and action vectors (S, ..., A) to (S, C, ...): for example a
critic with C members.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from vgm2p.errors import ConfigError

Rate = Callable[[Tensor, Tensor], Tensor]
Baseline = int | Literal["exact"]  # the number of sampled actions, or the expectation over all


def baseline_of(samples: Baseline, has_probabilities: bool) -> tuple[int, bool]:
    """Return the number of samples, and whether the baseline is exact. Raises ConfigError if it cannot be."""
    if samples != "exact":
        return samples, False
    if not has_probabilities:
        raise ConfigError("algo.baseline_samples=exact needs probabilities of discrete actions (algo.predict=x); use 1")
    return 1, True


def rate_every(rate: Rate, o: Tensor, actions: int) -> Tensor:
    """Return the verdict on all discrete actions, for o (S, ..., O): (S, C, ..., actions)."""
    every = torch.eye(actions, dtype=o.dtype, device=o.device).expand(*o.shape[:-1], -1, -1)
    return rate(o.unsqueeze(-2).expand(*every.shape[:-1], -1), every)


def against_samples(rate: Rate, o: Tensor, action: Tensor, samples: Tensor) -> tuple[Tensor, Tensor]:
    """Return A = rate(o, a) - V and V = mean_K rate(o, a^), both (S, B, N); the mean over the C members is taken.

    Args:
        rate: the verdict.
        o: (S, B, N, O) encoded observations.
        action: (S, B, N, A) stored actions.
        samples: (S, B, K, N, A) actions a^ of the policy.
    """
    actions = torch.cat([action.unsqueeze(2), samples], dim=2)
    values = rate(o.unsqueeze(2).expand(*actions.shape[:-1], -1), actions)  # (S, C, B, 1 + K, N)
    value = values[:, :, :, 1:].mean(3).mean(1)
    return values[:, :, :, 0].mean(1) - value, value


def against_expectation(rate: Rate, o: Tensor, action: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
    """Return A = rate(o, a) - V and V = sum_a p_a rate(o, a), as `against_samples`, for p (S, B, 1, N, A)."""
    every = rate_every(rate, o, action.shape[-1]).mean(1)
    value = (p[:, :, 0] * every).sum(-1)
    return (action * every).sum(-1) - value, value
