"""Steps that several value-based algorithms share: mixing of agents' values, TD loss, expectile loss."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vgm2p.types import Randomness, per_seed_mean


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
MIXERS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "mean": _mean,
    "sum": _sum,
    "literal": _literal,
    "independent": _independent,
}


def td_loss(q: Tensor, reward: Tensor, discounted_next: Tensor, valid: Tensor, mixer: str) -> Tensor:
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
