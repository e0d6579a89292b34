"""Steps that several algorithms share: mixing of agents' values, TD and expectile losses, likelihoods."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from vgm2p.types import Randomness, per_seed_mean


@dataclass(frozen=True)
class CriticSettings:
    """The critic of an algorithm.

    Attributes:
        members: networks of the ensemble. VGM2P takes the mean of their values [mac-flow: 2; the paper writes one]; the
            target of a `ValueLearner` takes the smallest value for continuous actions, and the mean for discrete ones.
        depth: hidden layers; None: as the policy's.
        layer_norm: whether a LayerNorm follows every hidden layer [mac-flow: yes].
        tau: Polyak rate of the target per update [mac-flow: 0.005; VGM2P: "slowly updated"].
        reward_scale: factor of the rewards; 1 - gamma makes Q a reward per step, which networks reach sooner.
    """

    members: int = 2
    depth: int | None = None
    layer_norm: bool = True
    tau: float = 0.005
    reward_scale: float = 1.0


def _mean(q: Tensor, reward: Tensor, discounted_next: Tensor) -> Tensor:
    return q.mean(-1) - (reward + discounted_next.mean(-1))


def _sum(q: Tensor, reward: Tensor, discounted_next: Tensor) -> Tensor:
    return q.sum(-1) - (reward + discounted_next.sum(-1))


def _literal(q: Tensor, reward: Tensor, discounted_next: Tensor) -> Tensor:
    return (q - (reward.unsqueeze(-1) + discounted_next)).sum(-1)


def _independent(q: Tensor, reward: Tensor, discounted_next: Tensor) -> Tensor:
    return q - (reward.unsqueeze(-1) + discounted_next)


# TD residual of q (S, C, B, N), reward (S, 1, B), gamma * bootstrap * next value (S, 1, B, N):
# mean and sum give (S, C, B); `literal`, N times the mean, has the reward inside the agents' sum, as Eq. 13 prints it;
# `independent` keeps (S, C, B, N).
Mixer = Literal["mean", "sum", "literal", "independent"]
MIXERS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "mean": _mean,
    "sum": _sum,
    "literal": _literal,
    "independent": _independent,
}


def td_loss(q: Tensor, reward: Tensor, discounted_next: Tensor, valid: Tensor, mixer: Mixer) -> Tensor:
    """Return the squared TD residual (Eq. 13; Eq. 6 for `independent`), averaged over valid rows and members: (S,).

    Args:
        q: (S, C, B, N) values of the stored actions.
        reward: (S, B) team reward, once.
        discounted_next: (S, B, N) gamma * bootstrap * next value, without gradient.
        valid: (S, B) 1 where the row has a TD target.
        mixer: key of MIXERS.
    """
    residual = MIXERS[mixer](q, reward.unsqueeze(1), discounted_next.unsqueeze(1))
    weight = valid / valid.mean(-1, keepdim=True).clamp(min=torch.finfo(valid.dtype).tiny)
    weight = weight.reshape(weight.shape[0], 1, weight.shape[1], *[1] * (residual.dim() - 3))
    return per_seed_mean(weight * residual.square())


def expectile_loss(error: Tensor, expectile: float) -> Tensor:
    """Return |expectile - 1[error < 0]| error^2 averaged per seed (IQL): error (S, ...) -> (S,)."""
    weight = (expectile - (error < 0).to(error.dtype)).abs()
    return per_seed_mean(weight * error.square())


def stack_copies(first: Tensor | None, second: Tensor, copies: int) -> Tensor:
    """Stack `first` (S, B, ...) and `copies` repeats of `second` on a new axis 2: (S, B, 1 + copies, ...)."""
    assert first is not None
    repeated = second.unsqueeze(2).expand(-1, -1, copies, *[-1] * (second.dim() - 2))
    return torch.cat([first.unsqueeze(2), repeated], dim=2)


def drop_labels(c: Tensor, null: int, share: float, key: Randomness) -> Tensor:
    """Replace a share of the conditions (S, ...) by `null`, so that the network also learns all data (CFGRL)."""
    return c.masked_fill(key.uniform("label_dropout", tuple(c.shape[1:])) < share, null)


def best_rated(actions: Tensor, q: Tensor) -> Tensor:
    """Return each agent's candidate with the highest value: actions (S, E, n, N, A), q (S, E, n, N) -> (S, E, N, A)."""
    best = q.argmax(2, keepdim=True)
    return actions.gather(2, best.unsqueeze(-1).expand(*best.shape, actions.shape[-1]))[:, :, 0]


def gaussian_nll(action: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Return -log N(action; mean, exp(log_std)^2) per component."""
    return 0.5 * ((action - mean) * torch.exp(-log_std)).square() + log_std + 0.5 * math.log(2.0 * math.pi)


def value_at(q: Tensor, action: Tensor) -> Tensor:
    """Return Q(o, a) (S, C, B, N) for the values of all actions q (S, C, B, N, A) and indices (S, B, N)."""
    return q.gather(-1, action[:, None, ..., None].expand(*q.shape[:-1], 1)).squeeze(-1)


def log_softmax_at(logits: Tensor, action: Tensor) -> Tensor:
    """Return log softmax(logits)[action] for logits (..., A) and indices (...)."""
    return F.log_softmax(logits, dim=-1).gather(-1, action.unsqueeze(-1)).squeeze(-1)


def unit(x: Tensor) -> Tensor:
    """Divide (S, ...) by its deviation per seed."""
    deviation = x.flatten(1).std(1).clamp(min=1e-8)
    return x / deviation.reshape(-1, *[1] * (x.dim() - 1))
