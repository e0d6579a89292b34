"""What the output of a flow network means: the velocity (`v`), or the clean action (`x`), which gives the velocity.

With x_k = (1 - k) a + k eps, a network D that predicts the action a has the velocity u = (x_k - D) / k. For discrete
actions, D is a softmax over the legal actions: the network's output are their logits. docs/algorithms/clean_action.md
derives the losses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Predict = Literal["v", "x"]
LEAST_K = 0.02  # smallest time k for which a network that predicts x is trained: u has the factor 1 / k
ILLEGAL = -1e9  # logit of an illegal action; its probability is exactly 0


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
        return torch.softmax(allowed(y, legal), dim=-1) if self.discrete else y

    def velocity(self, y: Tensor, x: Tensor, k: Tensor, legal: Tensor | None) -> Tensor:
        """Return u = y, or u = (x - D) / k: (S, ..., A)."""
        return (x - self.action(y, legal)) / k if self.clean else y

    def along(
        self, y: Tensor, dy: Tensor, x: Tensor, dx: Tensor, k: Tensor, legal: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return u, and du/dk without gradient, for the tangent dy of y along (dx, 0, 1) on (x, r, k).

        dD = D (dy - sum_j D_j dy_j) through the softmax, and du/dk = (dx - dD - u) / k through the division.
        """
        if not self.clean:
            return y, dy
        action = self.action(y, legal)
        u = (x - action) / k
        with torch.no_grad():
            if self.discrete:
                dy = action * (dy - (action * dy).sum(-1, keepdim=True))
            return u, (dx - dy - u) / k

    def error(self, du: Tensor, k: Tensor) -> Tensor:
        """Return the error of the predicted quantity for an error du of u: du itself, or that of D = x - k u."""
        return k * du if self.clean else du


def head_of(net: object) -> Head:
    """Return the head of a network. Functions without one return velocities."""
    found: Head = getattr(net, "head", VELOCITY)
    return found


def allowed(logits: Tensor, legal: Tensor | None) -> Tensor:
    """Return logits (S, ..., A) with `ILLEGAL` where legal (S, ..., A) is False; they are finite in every row."""
    return logits if legal is None else logits.masked_fill(~legal, ILLEGAL)


def cross_entropy(logits: Tensor, target: Tensor, legal: Tensor | None) -> Tensor:
    """Return -sum_j target_j log softmax(logits)_j over the legal actions j: (S, ..., A) -> (S, ...)."""
    log_p = F.log_softmax(allowed(logits, legal), dim=-1)
    return -(target * (log_p if legal is None else log_p.masked_fill(~legal, 0.0))).sum(-1)


VELOCITY = Head()
