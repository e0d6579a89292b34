"""Flow matching (VGM2P Eq. 2): learn the instantaneous velocity v(x, k); sample in several Euler steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from vgm2p.flows.head import Head, cross_entropy, head_of
from vgm2p.flows.path import Times, point, velocity
from vgm2p.types import Randomness, has_choice, per_seed_mean

VelocityCall = Callable[[Tensor, Tensor, Tensor, Tensor | None, Tensor | None], Tensor]  # v(x, k, o, c, legal)


class VelocityField(Protocol):
    """A network of velocities (`nn.policy.Velocity`)."""

    @property
    def head(self) -> Head:
        """What the network's output means."""
        ...

    def output(self, x: Tensor, k: Tensor, o: Tensor, c: Tensor | None) -> Tensor:
        """Return the network's output (S, ..., A)."""
        ...


def flow_matching_loss(
    net: VelocityField,
    x: Tensor,
    v: Tensor,
    k: Tensor,
    o: Tensor,
    c: Tensor | None,
    legal: Tensor | None = None,
    guided: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return the loss || v(x, k, o, c) - sg[v] ||^2 / A per row (S, ...), and the network's output (S, ..., A).

    A network that predicts the clean action has the loss || D - sg[x - k v] ||^2 / A. With discrete actions it has the
    cross-entropy of D at x - k v, which is the stored action, unless v is guided: then x - k v is no distribution.

    Args:
        net: the network.
        x: (S, ..., A) point x_k.
        v: (S, ..., A) velocity to learn.
        k: (S, ..., 1) time.
        o: (S, ..., O) encoded observations.
        c: (S, ..., classes) one-hot conditions, or None.
        legal: (S, ..., A) bool for discrete actions, or None.
        guided: whether v is other than that of a stored action.
    """
    y, head = net.output(x, k, o, c), net.head
    target = head.target(v.detach(), x, k)
    if head.clean and head.discrete and not guided:
        return cross_entropy(y, target.round(), legal), y.detach()  # rounded: a one-hot, without rounding errors
    predicted = head.action(y, legal) if head.clean else y
    return (predicted - target).square().mean(-1), y.detach()


def cloning_loss(
    net: VelocityField, action: Tensor, o: Tensor, times: Times, key: Randomness, legal: Tensor | None = None
) -> Tensor:
    """E || v(a_k, k, o) - (eps - a) ||^2 / A per seed (S,), for action vectors a (S, B, N, A) and o (S, B, N, O).

    With `legal` (S, B, N, A), the mean is over rows with a choice.
    """
    k = times.one(key, action)
    eps = key.normal("flow_noise", tuple(action.shape[1:])).to(action.dtype)
    a_k, v = point(action, eps, k), velocity(action, eps)  # (1 - k) a + k eps, eps - a
    return per_seed_mean(flow_matching_loss(net, a_k, v, k, o, None, legal)[0], has_choice(legal))


def euler_sample(
    net: VelocityCall, z: Tensor, o: Tensor, c: Tensor | None, steps: int, legal: Tensor | None = None
) -> Tensor:
    """Integrate from noise z (S, ..., A) at k = 1 to data at k = 0 in `steps` Euler steps: x <- x - v(x, k) / steps.

    If the network predicts the clean action D, this is x <- x + (D - x) / (steps k); the last step ends at D.
    """
    x, action = z, net.action if head_of(net).clean else None  # type: ignore[attr-defined]
    for i in range(steps):
        k = torch.full((1,), 1.0 - i / steps, dtype=z.dtype, device=z.device)
        if action is None:
            x = x - net(x, k, o, c, legal) / steps
        else:
            x = torch.lerp(x, action(x, k, o, c, legal), 1.0 / (steps - i))
    return x
