"""How far the draws of a policy lie apart, beside how far the data lie around them.

A cloned policy that starts from noise can reach a higher return because it draws nearly the same action every time.
Then it has learnt the mean action, and not the distribution of the data. These two numbers show it.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from vgm2p.algos.contract import Algorithm
from vgm2p.rng import UpdateKey
from vgm2p.types import Batch, per_seed_mean


def has_spread(algorithm: Algorithm) -> bool:
    """Return whether a policy draws continuous actions from noise, each from a single step. (Planners draw plans.)"""
    from_noise = algorithm.acting is not None and algorithm.starts_from_noise
    single = type(algorithm).act is Algorithm.act and not algorithm.needs.ahead
    return from_noise and single and not algorithm.spec.discrete


@torch.no_grad()
def spread(algorithm: Algorithm, batch: Batch, key: UpdateKey, update: int) -> dict[str, Tensor]:
    """Return two standard deviations, each (S,): square roots of means over rows, agents and components.

    `draw_std` is that of two draws a1, a2 at full noise: E (a1 - a2)^2 = 2 Var. `residual_std` is that of the data's
    action a around the mean of the draws: E (a - a1)(a - a2) = E (a - mean)^2, because the draws are independent. It
    contains the distance of the draws' mean from the data's. They are equal for a policy that has the distribution of
    the data.

    Args:
        algorithm: an algorithm with `has_spread`.
        batch: data, drawn with the needs of the algorithm.
        key: random numbers of a stream of their own.
        update: number of updates so far.
    """
    assert algorithm.acting is not None
    acting = replace(algorithm.acting, noise=1.0, shared=False, best_of=1)
    o = algorithm.encode(batch.obs, algorithm.past(batch))
    first, second = (algorithm.execute(o, None, key.at(2 * update + i), acting) for i in (0, 1))
    drawn = per_seed_mean((first - second).square()) / 2
    around = per_seed_mean((batch.action - first) * (batch.action - second))
    return {"draw_std": drawn.sqrt(), "residual_std": around.clamp(min=0.0).sqrt()}
