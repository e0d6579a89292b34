"""Flow matching (VGM2P Eq. 2): learn the instantaneous velocity v(x, k); sample in several Euler steps."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

VelocityField = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]


def flow_matching_loss(v: Tensor, target: Tensor) -> Tensor:
    """Return the loss || v - sg[target] ||^2 / A per row: v, target (S, ..., A) -> (S, ...)."""
    return (v - target.detach()).square().mean(-1)


def euler_sample(net: VelocityField, z: Tensor, o: Tensor, c: Tensor | None, steps: int) -> Tensor:
    """Integrate from noise z (S, ..., A) at k = 1 to data at k = 0 in `steps` Euler steps: x <- x - v(x, k) / steps."""
    x = z
    for i in range(steps):
        k = torch.full((1,), 1.0 - i / steps, dtype=z.dtype, device=z.device)
        x = x - net(x, k, o, c) / steps
    return x
