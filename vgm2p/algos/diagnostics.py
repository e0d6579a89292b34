"""Diagnostics that a run logs, each (S,). They do not enter a loss."""

from __future__ import annotations

from torch import Tensor, finfo, ones_like

from vgm2p.seeds import broadcast
from vgm2p.types import per_seed_mean

SATURATED = 0.999  # a component of a tanh policy beyond it counts as lying on the bound


def q_levels(q: Tensor, mixer: str, reward: Tensor, discount: Tensor, valid: Tensor) -> dict[str, Tensor]:
    """Return the mean of Q under the mixer, and its fixed point: mean reward / (1 - mean discount).

    Q approaches the fixed point with a time constant of 1 / (tau (1 - gamma)) updates.

    Args:
        q: (S, C, B, N) values.
        mixer: key of `parts.MIXERS`; with `sum`, the reward is that of the sum over agents.
        reward: (S, B).
        discount: (S, B) gamma * bootstrap.
        valid: (S, B), 0 for rows that do not count.
    """
    left = (per_seed_mean(valid) - per_seed_mean(valid * discount)).clamp(min=finfo(valid.dtype).tiny)
    level = per_seed_mean(q.sum(-1) if mixer == "sum" else q)
    return {"q_mean": level, "q_fixed_point": per_seed_mean(valid * reward) / left}


def shares(better: Tensor, adv: Tensor, choice: Tensor | None = None) -> dict[str, Tensor]:
    """Return the share of class 1 (overall, per agent), how often agents agree, and mean and standard deviation of A.

    Args:
        better: (S, B, N) bool conditions.
        adv: (S, B, N) advantages A of the critic.
        choice: (S, B, N) bool, the rows that count (`types.has_choice`); None: all. A share of no rows is 0.
    """
    c = better.to(adv.dtype)
    info = {"c1_fraction": per_seed_mean(c, choice), "adv_mean": per_seed_mean(adv, choice)}
    info["adv_std"] = deviation(adv, choice)
    for i in range(c.shape[-1]):
        info[f"c1_fraction_{i}"] = per_seed_mean(c[..., i], None if choice is None else choice[..., i])
    return info | {"c_agreement": agreement(c, choice)}


def deviation(x: Tensor, rows: Tensor | None = None) -> Tensor:
    """Return the standard deviation of x (S, ...) per seed: (S,).

    With `rows` (S, ...) bool, only those count, and the squares are divided by their number, not by one less. One
    number has the deviation 0.
    """
    if rows is None:
        return x.flatten(1).std(1, correction=min(1, x[0].numel() - 1))
    return per_seed_mean((x - broadcast(per_seed_mean(x, rows), x)).square(), rows).sqrt()


def correlation(x: Tensor, y: Tensor, rows: Tensor) -> Tensor:
    """Return the correlation of x and y, both (S, ...), over `rows` (S, ...) bool: (S,); 0 if one is constant."""
    x, y = (each - broadcast(per_seed_mean(each, rows), each) for each in (x, y))
    size = (per_seed_mean(x.square(), rows) * per_seed_mean(y.square(), rows)).sqrt()
    return per_seed_mean(x * y, rows) / size.clamp(min=finfo(size.dtype).tiny)


def agreement(c: Tensor, choice: Tensor | None = None) -> Tensor:
    """Return the mean share of agent pairs with the same condition: c (S, B, N), 0 or 1 -> (S,). One agent: 1.

    With `choice` (S, B, N) bool, only agents with a choice make pairs, and steps without a pair do not count.
    """
    if c.shape[-1] == 1:
        return per_seed_mean(ones_like(c))
    counted = ones_like(c) if choice is None else choice.to(c.dtype)
    n, ones = counted.sum(-1), (c * counted).sum(-1)
    pairs, equal = n * (n - 1), ones * (ones - 1) + (n - ones) * (n - ones - 1)
    return per_seed_mean(equal / pairs.clamp(min=1.0), None if choice is None else pairs > 0)


def on_bounds(action: Tensor, discrete: bool, bound: float = 1.0) -> dict[str, Tensor]:
    """Return the share of components of generated actions (S, ...) that reach -bound or bound; nothing if discrete.

    A clipped policy reaches 1. A policy that ends in a tanh only comes near it: use SATURATED.
    """
    return {} if discrete else {"clipped": per_seed_mean((action.abs() >= bound).to(action.dtype))}


def weight_levels(weight: Tensor, clamped: Tensor) -> dict[str, Tensor]:
    """Return how uneven the weights (S, ...) of a loss are, and the share of those that a limit cut.

    `ess` is the effective sample size as a share of the n weights: 1 if all are equal, 1 / n if all but one are 0.
    """
    info = {"ess": ess(weight), "weight_max": weight.flatten(1).amax(1)}
    return info | {"clamped": per_seed_mean(clamped.to(weight.dtype))}


def ess(weight: Tensor) -> Tensor:
    """Return (sum w)^2 / (n sum w^2) for n weights (S, ...) >= 0: (S,); 0 where all are 0."""
    square = per_seed_mean(weight.square()).clamp(min=finfo(weight.dtype).tiny)
    return per_seed_mean(weight).square() / square
