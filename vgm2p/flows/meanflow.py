"""MeanFlow (VGM2P Eq. 3 to 5, 10): learn the average velocity u(x, r, k), act in one step.

Differentiating `(k - r) u = integral_r^k v` along the path gives the identity `u = v - (k - r) du/dk` with
`du/dk = (du/dx) v + du/dk`, the tangent being (v, 0, 1) on (x, r, k).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Protocol

import torch
from torch import Tensor

from vgm2p.flows.path import adaptive_weight


class AverageVelocityField(Protocol):
    """What the loss needs of a network: the value and its derivative along a tangent."""

    def along(self, x: Tensor, r: Tensor, k: Tensor, o: Tensor, c: Tensor | None, dx: Tensor) -> tuple[Tensor, Tensor]:
        """Return u (S, ..., A), differentiable in the parameters, and du/dk (S, ..., A) without gradient."""
        ...


def identity_target(v: Tensor, k: Tensor, r: Tensor, dudk: Tensor) -> Tensor:
    """Return the detached right-hand side of the MeanFlow identity, v - (k - r) du/dk."""
    return (v - (k - r) * dudk).detach()


def meanflow_loss(
    net: AverageVelocityField,
    x: Tensor,
    v: Tensor,
    k: Tensor,
    r: Tensor,
    o: Tensor,
    c: Tensor | None,
    adaptive_power: float = 0.0,
    half: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return row losses (S, ...) of || u - sg[v - (k - r) du/dk] ||^2 / A, and u detached (S, ..., A).

    Runs in float32 whatever the autocast region around it, unless `half`: bf16 derivatives are off by 0.8 %.

    Args:
        net: the average-velocity network.
        x: (S, ..., A) point x_k.
        v: (S, ..., A) velocity to learn, and the x-part of the tangent (guided or plain).
        k: (S, ..., 1) end time.
        r: (S, ..., 1) start time.
        o: (S, ..., O) encoded observations.
        c: (S, ..., C) one-hot conditions or None.
        adaptive_power: p of the weight 1 / (loss + eps)^p; 0 is the paper.
        half: leave an autocast region as it is.
    """
    with nullcontext() if half else torch.autocast(x.device.type, enabled=False):
        u, dudk = net.along(x, r, k, o, c, dx=v)
        row_loss = (u - identity_target(v, k, r, dudk)).square().mean(-1)
        return adaptive_weight(row_loss, adaptive_power) * row_loss, u.detach()


def meanflow_sample(
    u: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor | None], Tensor],
    z: Tensor,
    o: Tensor,
    c: Tensor | None,
    steps: int = 1,
) -> Tensor:
    """Carry noise z (S, ..., A) to data: x <- x - (k - r) u(x, r, k); `steps` = 1 is Alg. 2, z - u(z, 0, 1)."""
    x = z
    for i in range(steps):
        k = z.new_full((1,), 1.0 - i / steps)
        r = z.new_full((1,), 1.0 - (i + 1) / steps)
        x = x - (k - r) * u(x, r, k, o, c)
    return x
