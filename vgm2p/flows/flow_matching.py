"""Flow matching (VGM2P Eq. 2): learn the instantaneous velocity v(x, k); sample in several Euler steps."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vgm2p.flows.path import Times, point, velocity
from vgm2p.types import Randomness, per_seed_mean

VelocityField = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]


def flow_matching_loss(v: Tensor, target: Tensor) -> Tensor:
    """Return the loss || v - sg[target] ||^2 / A per row: v, target (S, ..., A) -> (S, ...)."""
    return (v - target.detach()).square().mean(-1)


def cloning_loss(net: VelocityField, action: Tensor, o: Tensor, times: Times, key: Randomness) -> Tensor:
    """E || v(a_k, k, o) - (eps - a) ||^2 / A per seed (S,), for action vectors a (S, B, N, A) and o (S, B, N, O)."""
    k = times.one(key, action)
    eps = key.normal("flow_noise", tuple(action.shape[1:])).to(action.dtype)
    a_k, v = point(action, eps, k), velocity(action, eps)  # (1 - k) a + k eps, eps - a
    return per_seed_mean(flow_matching_loss(net(a_k, k, o, None), v))


def euler_sample(net: VelocityField, z: Tensor, o: Tensor, c: Tensor | None, steps: int) -> Tensor:
    """Integrate from noise z (S, ..., A) at k = 1 to data at k = 0 in `steps` Euler steps: x <- x - v(x, k) / steps."""
    x = z
    for i in range(steps):
        k = torch.full((1,), 1.0 - i / steps, dtype=z.dtype, device=z.device)
        x = x - net(x, k, o, c) / steps
    return x
