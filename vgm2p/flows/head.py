"""What the output of a flow network means: the velocity (`v`), or the clean action (`x`), which gives the velocity.

With x_k = (1 - k) a + k eps, a network D that predicts the action a has the velocity u = (x_k - D) / k. For discrete
actions, D is a softmax over the legal actions: the network's output are their logits. docs/algorithms/clean_action.md
derives the losses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from vgm2p.nn.fast.softmax import log_softmax, softmax

Predict = Literal["v", "x"]
LEAST_K = 0.02  # smallest time k for which a network that predicts x is trained: u has the factor 1 / k
ILLEGAL = -1e9  # added to the logit of an illegal action, whose probability then is exactly 0


class Along(NamedTuple):
    """A network at a point, and its derivative along a direction.

    Attributes:
        u: (S, ..., A) average velocity, without gradient.
        dudk: (S, ..., A) its total derivative, without gradient.
        predicted: (S, ..., A) what the network predicts: u, or the clean action; differentiable in the parameters.
    """

    u: Tensor
    dudk: Tensor
    predicted: Tensor


@dataclass(frozen=True)
class Head:
    """Turns the output y (S, ..., A) of a flow network at the point x (S, ..., A) and time k into a velocity.

    Attributes:
        predict: `v`: y is the velocity [papers]; `x`: y is the clean action, for discrete actions its logits.
        discrete: whether actions are one-hots, of which some may be illegal.
    """

    predict: Predict = "v"
    discrete: bool = False

    @property
    def clean(self) -> bool:
        """Whether the network predicts the clean action."""
        return self.predict == "x"

    def action(self, y: Tensor, legal: Tensor | None) -> Tensor:
        """Return the clean action D (S, ..., A) of an output y; with discrete actions, their probabilities."""
        return softmax(allowed(y, legal)) if self.discrete else y

    def velocity(self, y: Tensor, x: Tensor, k: Tensor, legal: Tensor | None) -> Tensor:
        """Return u = y, or u = (x - D) / k: (S, ..., A)."""
        return (x - self.action(y, legal)) / k if self.clean else y

    def along(self, y: Tensor, dy: Tensor, x: Tensor, dx: Tensor, k: Tensor, legal: Tensor | None) -> Along:
        """Return `Along` for the tangent dy of y along (dx, 0, 1) on (x, r, k).

        dD = D (dy - sum_j D_j dy_j) through the softmax, and du/dk = (dx - dD - u) / k through the division.
        """
        if not self.clean:
            return Along(y.detach(), dy, y)
        action = self.action(y, legal)
        with torch.no_grad():
            u = (x - action) / k
            if self.discrete:
                dy = action * (dy - (action * dy).sum(-1, keepdim=True))
            return Along(u, (dx - dy - u) / k, action)

    def target(self, u: Tensor, x: Tensor, k: Tensor) -> Tensor:
        """Return what the prediction has to be for a velocity u (S, ..., A): u itself, or x - k u."""
        return torch.addcmul(x, k, u, value=-1.0) if self.clean else u


def head_of(net: object) -> Head:
    """Return the head of a network. Functions without one return velocities."""
    found: Head = getattr(net, "head", VELOCITY)
    return found


def allowed(logits: Tensor, legal: Tensor | None) -> Tensor:
    """Return logits (S, ..., A), with `ILLEGAL` added where legal (S, ..., A) is False. They are finite in every row.

    A sum has no mask in the backward pass; it needs none, because the gradient at probability 0 is 0.
    """
    return logits if legal is None else logits + (legal.to(logits.dtype) - 1.0) * -ILLEGAL


def cross_entropy(logits: Tensor, action: Tensor, legal: Tensor | None) -> Tensor:
    """Return -log softmax(logits) at one-hot actions, over the legal actions: (S, ..., A) -> (S, ...)."""
    return -(action * log_softmax(allowed(logits, legal))).sum(-1)


VELOCITY = Head()
