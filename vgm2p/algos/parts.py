"""Functions that several algorithms share: mixing of the agents' values, TD and expectile losses, likelihoods."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from vgm2p.algos.diagnostics import deviation
from vgm2p.seeds import broadcast
from vgm2p.types import Randomness, per_seed_mean


@dataclass(frozen=True)
class CriticSettings:
    """Settings of a critic.

    Attributes:
        members: size C of the ensemble [code of MAC-Flow: 2; VGM2P: one]. VGM2P takes the mean of the members' values.
            The target of a `ValueLearner` takes the smallest value for continuous actions, the mean for discrete ones.
        depth: number of hidden layers; None: as many as the policy has.
        layer_norm: whether a LayerNorm follows every hidden layer [code of MAC-Flow: yes].
        tau: Polyak rate of the target critic per update [code of MAC-Flow: 0.005; VGM2P: "slowly updated"].
        reward_scale: factor of the rewards. With 1 - gamma, Q has the scale of one reward and is learnt faster.
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


# A mixer maps q (S, C, B, N), reward (S, 1, B) and gamma * bootstrap * next value (S, 1, B, N) to the TD residual.
# `mean`, `sum` and `literal` return (S, C, B), `independent` returns (S, C, B, N). `literal` has the reward inside the
# sum over agents, as Eq. 13 is printed; this is N times `mean`.
Mixer = Literal["mean", "sum", "literal", "independent"]
MIXERS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "mean": _mean,
    "sum": _sum,
    "literal": _literal,
    "independent": _independent,
}


def td_loss(
    q: Tensor, reward: Tensor, discounted_next: Tensor, valid: Tensor, mixer: Mixer, huber: bool = False
) -> Tensor:
    """Return the squared TD residual, averaged over valid rows and members: (S,). Eq. 13; for `independent` Eq. 6.

    Args:
        q: (S, C, B, N) values of the stored actions.
        reward: (S, B) team reward.
        discounted_next: (S, B, N) gamma * bootstrap * next value, without gradient.
        valid: (S, B), 1 if the row has a TD target, else 0.
        mixer: key of MIXERS.
        huber: whether to use Huber's loss in place of the square: 0.5 x^2 for |x| < 1, else |x| - 0.5.
    """
    residual = MIXERS[mixer](q, reward.unsqueeze(1), discounted_next.unsqueeze(1))
    weight = valid / valid.mean(-1, keepdim=True).clamp(min=torch.finfo(valid.dtype).tiny)
    weight = weight.reshape(weight.shape[0], 1, weight.shape[1], *[1] * (residual.dim() - 3))
    loss = F.smooth_l1_loss(residual, torch.zeros_like(residual), reduction="none") if huber else residual.square()
    return per_seed_mean(weight * loss)


def expectile_loss(error: Tensor, expectile: float) -> Tensor:
    """Return the mean of |expectile - 1[error < 0]| error^2 per seed (IQL): error (S, ...) -> (S,)."""
    weight = (expectile - (error < 0).to(error.dtype)).abs()
    return per_seed_mean(weight * error.square())


def stack_copies(first: Tensor | None, second: Tensor, copies: int) -> Tensor:
    """Stack `first` and `copies` copies of `second`, each (S, B, ...), on a new axis 2: (S, B, 1 + copies, ...)."""
    assert first is not None
    repeated = second.unsqueeze(2).expand(-1, -1, copies, *[-1] * (second.dim() - 2))
    return torch.cat([first.unsqueeze(2), repeated], dim=2)


def drop_labels(c: Tensor, null: int, share: float, key: Randomness) -> Tensor:
    """Replace a share of the conditions c (S, ...) by `null`; for `null`, the network learns all data (CFGRL)."""
    return c.masked_fill(key.uniform("label_dropout", tuple(c.shape[1:])) < share, null)


def best_rated(actions: Tensor, q: Tensor) -> Tensor:
    """Return per agent the candidate with the highest q: actions (S, E, n, N, A), q (S, E, n, N) -> (S, E, N, A)."""
    best = q.argmax(2, keepdim=True)
    return actions.gather(2, best.unsqueeze(-1).expand(*best.shape, actions.shape[-1]))[:, :, 0]


def gaussian_nll(action: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Return -log N(action; mean, exp(log_std)^2) per component; all (..., A)."""
    return 0.5 * ((action - mean) * torch.exp(-log_std)).square() + log_std + 0.5 * math.log(2.0 * math.pi)


def tanh_normal_log_prob(action: Tensor, mean: Tensor, log_std: Tensor, eps: float) -> Tensor:
    """Return the log density (...) of action (..., A) = tanh(u), u ~ N(mean, exp(log_std)^2).

    Components are moved into [eps - 1, 1 - eps] first: at the bounds themselves, u is infinite.
    """
    inside = action.clamp(eps - 1.0, 1.0 - eps)
    u = torch.atanh(inside)
    return -(gaussian_nll(u, mean, log_std) + torch.log1p(-inside.square())).sum(-1)


def value_at(q: Tensor, action: Tensor) -> Tensor:
    """Return Q(o, a) (S, C, B, N) for the values of all actions q (S, C, B, N, A) and indices (S, B, N)."""
    return q.gather(-1, action[:, None, ..., None].expand(*q.shape[:-1], 1)).squeeze(-1)


def log_softmax_at(logits: Tensor, action: Tensor) -> Tensor:
    """Return log softmax(logits)[action] for logits (..., A) and indices (...)."""
    return F.log_softmax(logits, dim=-1).gather(-1, action.unsqueeze(-1)).squeeze(-1)


def batch_softmax(x: Tensor, beta: float, valid: Tensor | None = None, cap: float = math.inf) -> Tensor:
    """Return weights exp(x / beta) / Z, Z their mean over the batch, so that they average 1; then at most `cap`.

    Args:
        x: (S, B, ...); each further index has a Z of its own.
        beta: temperature; the larger, the nearer to 1 is every weight.
        valid: (S, B); rows with 0 get weight 0 and are not counted in Z. None: all rows count.
        cap: largest weight.
    """
    logits, rows = x / beta, x.new_ones(x.shape[:2]) if valid is None else valid
    rows = rows.reshape(*rows.shape, *[1] * (x.dim() - 2))
    logits = logits.masked_fill(rows == 0, torch.finfo(x.dtype).min)
    return (rows.ne(0).sum(1, keepdim=True) * torch.softmax(logits, dim=1)).clamp(max=cap)


def unit_size(q: Tensor) -> Tensor:
    """Divide values q (S, B, ...) by their mean absolute value over the batch, which has no gradient."""
    size = q.detach().abs().mean(1, keepdim=True)
    return q / size.clamp(min=torch.finfo(q.dtype).tiny)


def unit(x: Tensor, rows: Tensor | None = None) -> Tensor:
    """Divide x (S, ...) by its standard deviation per seed. A single number has none, and stays as it is.

    With `rows` (S, ...) bool, the deviation is that of those rows: actions without a choice have no advantage.
    """
    if x[0].numel() == 1:
        return x
    return x / broadcast(deviation(x, rows).clamp(min=1e-8), x)
