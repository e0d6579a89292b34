"""MeanFlow (VGM2P Eq. 3 to 5, 10): learn the average velocity u(x, r, k); sample in one step.

By definition, `(k - r) u = integral_r^k v`. Its derivative along the path gives the MeanFlow identity
`u = v - (k - r) du/dk`. Here `du/dk` is the total derivative along the tangent (v, 0, 1) on (x, r, k).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Protocol

import torch
from torch import Tensor

from vgm2p.flows.head import Along, head_of
from vgm2p.flows.path import Times, adaptive_weight, point, velocity
from vgm2p.types import Randomness, has_choice, per_seed_mean

# u(x, r, k, o, c, legal)
AverageVelocityCall = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor | None, Tensor | None], Tensor]


class AverageVelocityField(Protocol):
    """A network that returns its value and its derivative along a tangent."""

    def along(
        self, x: Tensor, r: Tensor, k: Tensor, o: Tensor, c: Tensor | None, dx: Tensor, legal: Tensor | None = None
    ) -> Along:
        """Return u, du/dk along (dx, 0, 1), and the prediction."""
        ...


class BackwardDifference:
    """Computes du/dk by a backward difference: `[u(x, r, k) - u(x - delta dx, r, k - delta)] / delta`.

    It needs one more pass without gradient, but no derivative of the network (OM2P, arXiv 2508.06269).

    Args:
        net: the average-velocity network.
        delta: step of the time. In float32, 1e-2 is near the best: rounding errors grow as the step becomes smaller.
    """

    def __init__(self, net: AverageVelocityCall, delta: float) -> None:
        self.net, self.delta = net, delta

    def along(
        self, x: Tensor, r: Tensor, k: Tensor, o: Tensor, c: Tensor | None, dx: Tensor, legal: Tensor | None = None
    ) -> Along:
        """Return u, du/dk along (dx, 0, 1), and u with gradient."""
        u = self.net(x, r, k, o, c, legal)
        with torch.no_grad():
            before = self.net(x - self.delta * dx, r, k - self.delta, o, c, legal)
            return Along(u.detach(), (u - before) / self.delta, u)


def identity_target(v: Tensor, k: Tensor, r: Tensor, dudk: Tensor) -> Tensor:
    """Return the detached right side of the MeanFlow identity, v - (k - r) du/dk: (S, ..., A)."""
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
    legal: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the loss || u - sg[v - (k - r) du/dk] ||^2 / A per row (S, ...), and the detached u (S, ..., A).

    A network that predicts the clean action D = x - k u has the error of D in place of that of u: k times as much.

    It computes in float32, also inside an autocast region, because derivatives in bfloat16 have errors of 0.8 %. With
    `half`, it computes in the dtype of the autocast region.

    Args:
        net: the average-velocity network.
        x: (S, ..., A) point x_k.
        v: (S, ..., A) velocity to learn, guided or not. It is also the tangent of x.
        k: (S, ..., 1) end time.
        r: (S, ..., 1) start time.
        o: (S, ..., O) encoded observations.
        c: (S, ..., classes) one-hot conditions, or None.
        adaptive_power: p of the weight 1 / (loss + eps)^p of a row; 0 in the paper.
        half: whether to keep the dtype of an autocast region.
        legal: (S, ..., A) bool for discrete actions, or None.
    """
    with nullcontext() if half else torch.autocast(x.device.type, enabled=False):
        u, dudk, predicted = net.along(x, r, k, o, c, v, legal)
        target = head_of(net).target(identity_target(v, k, r, dudk), x, k)
        row_loss = (predicted - target).square().mean(-1)
        return adaptive_weight(row_loss, adaptive_power) * row_loss, u


def cloning_loss(
    net: AverageVelocityField,
    action: Tensor,
    o: Tensor,
    times: Times,
    key: Randomness,
    adaptive_power: float = 0.0,
    legal: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the loss of cloning without a condition (VGM2P Eq. 10) per seed (S,), and the detached u (S, ..., A).

    The times and the noise of the actions (S, ..., A) are drawn from `key`; `o` is (S, ..., O). With
    `legal` (S, ..., A), the mean is over rows with a choice.
    """
    k, r = times.pair(key, action)
    eps = key.normal("flow_noise", tuple(action.shape[1:])).to(action.dtype)
    a_k, v = point(action, eps, k), velocity(action, eps)
    rows, u = meanflow_loss(net, a_k, v, k, r, o, None, adaptive_power, legal=legal)
    return per_seed_mean(rows, has_choice(legal)), u


def meanflow_sample(
    u: AverageVelocityCall,
    z: Tensor,
    o: Tensor,
    c: Tensor | None,
    steps: int = 1,
    legal: Tensor | None = None,
) -> Tensor:
    """Map noise z (S, ..., A) to data in steps x <- x - (k - r) u(x, r, k). One step is Alg. 2: z - u(z, 0, 1).

    If the network predicts the clean action D, this is x <- x + (D - x) (k - r) / k; the last step ends at D.
    """
    x, action = z, u.action if head_of(u).clean else None  # type: ignore[attr-defined]
    for i in range(steps):
        k = z.new_full((1,), 1.0 - i / steps)
        r = z.new_full((1,), 1.0 - (i + 1) / steps)
        if action is None:
            x = x - (k - r) * u(x, r, k, o, c, legal)
        else:
            x = torch.lerp(x, action(x, r, k, o, c, legal), 1.0 / (steps - i))
    return x
