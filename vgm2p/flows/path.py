"""The linear path between data and noise, and the distributions of its times.

The whole project uses the convention of VGM2P and MeanFlow: `x_k = (1 - k) a + k eps`, velocity `eps - a`. FQL,
MAC-Flow and OM2P use the opposite direction: t = 1 - k, and -v in place of v.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from vgm2p.flows.head import LEAST_K, Head
from vgm2p.types import Randomness

LATE = 1.0, 1.0  # mean and standard deviation before the sigmoid, for the law `late`


def point(a: Tensor, eps: Tensor, k: Tensor) -> Tensor:
    """Return x_k = (1 - k) a + k eps (S, ..., A) for a, eps (S, ..., A) and k (S, ..., 1)."""
    return torch.lerp(a, eps, k)


def velocity(a: Tensor, eps: Tensor) -> Tensor:
    """Return the velocity of the linear path, eps - a (S, ..., A)."""
    return eps - a


@dataclass(frozen=True)
class Times:
    """Distribution of the time pair (k, r) of MeanFlow. Each row and each agent has its own pair.

    Attributes:
        law: `uniform` [paper]; `logit_normal`: sigmoid(mean + std N(0, 1)) [MeanFlow's JAX code: -0.4, 1.0]; `late`:
            sigmoid(1 + N(0, 1)), most times near noise; None: `suited` chooses.
        order: `sorted` makes r <= k [our choice]; `none` keeps the pair as drawn.
        equal_fraction: share of rows with r = k [MeanFlow's JAX code: 0.75, its PyTorch code: 0.25; here 0].
        mean: mean of the normal distribution before the sigmoid.
        std: standard deviation of the normal distribution before the sigmoid.
        least: smallest k: smaller ones are raised to it. `suited` sets it.
    """

    law: Literal["uniform", "logit_normal", "late"] | None = "uniform"
    order: Literal["sorted", "none"] = "sorted"
    equal_fraction: float = 0.0
    mean: float = field(default=-0.4, metadata={"least": -math.inf})
    std: float = 1.0
    least: float = 0.0

    def suited(self, head: Head) -> Times:
        """Return the times for a network with this head.

        A missing law becomes `late` for a head that predicts probabilities of discrete actions, else `uniform`. A head
        that predicts the clean action needs k >= LEAST_K.
        """
        law = self.law or ("late" if head.clean and head.discrete else "uniform")
        return replace(self, law=law, least=max(self.least, LEAST_K) if head.clean else self.least)

    def one(self, key: Randomness, like: Tensor) -> Tensor:
        """Draw k (S, ..., 1) for actions `like` (S, ..., A)."""
        return self._raised(self._draw(key, "time", (*like.shape[1:-1], 1)).to(like.dtype))

    def pair(self, key: Randomness, like: Tensor) -> tuple[Tensor, Tensor]:
        """Draw (k, r), each (S, ..., 1), for actions `like` (S, ..., A)."""
        drawn = self._draw(key, "times", (*like.shape[1:-1], 2)).to(like.dtype)
        k, r = drawn[..., :1], drawn[..., 1:]
        if self.order == "sorted":
            k, r = torch.maximum(k, r), torch.minimum(k, r)
        k = self._raised(k)
        if self.equal_fraction > 0:
            equal = key.uniform("times_equal", tuple(k.shape[1:])) < self.equal_fraction
            r = torch.where(equal, k, r)
        return k, r

    def _draw(self, key: Randomness, purpose: str, shape: tuple[int, ...]) -> Tensor:
        if self.law == "uniform":
            return key.uniform(purpose, shape)
        mean, std = LATE if self.law == "late" else (self.mean, self.std)
        logits = key.normal(purpose, shape) * std + mean
        # seed by seed: the last bit of a sigmoid depends on the place in memory
        return logits.sigmoid() if len(logits) == 1 else torch.stack([own.sigmoid() for own in logits])

    def _raised(self, k: Tensor) -> Tensor:
        return k.clamp(min=self.least) if self.least > 0 else k


@dataclass(frozen=True)
class OneTime(Times):
    """Distribution of the time of flow matching, which has only k: r = k."""

    def pair(self, key: Randomness, like: Tensor) -> tuple[Tensor, Tensor]:
        """Draw k (S, ..., 1) and return it twice."""
        k = self.one(key, like)
        return k, k


def adaptive_weight(row_loss: Tensor, power: float, eps: float = 0.01) -> Tensor:
    """Return w = 1 / (loss + eps)^power (S, ...) without gradient. The paper has power 0, MeanFlow's JAX code 1."""
    if power == 0.0:
        return torch.ones_like(row_loss)
    return (row_loss.detach() + eps).pow(-power)
