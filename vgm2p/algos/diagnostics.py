"""What a run logs to explain itself; everything (S,), nothing of it enters a loss."""

from __future__ import annotations

from torch import Tensor, ones_like

from vgm2p.types import per_seed_mean

SATURATED = 0.999  # a component of a tanh policy beyond it counts as lying on the bound


def q_levels(q: Tensor, reward: Tensor, discount: Tensor, valid: Tensor) -> dict[str, Tensor]:
    """Return the mean of Q (S, C, B, N), and the level it drifts to: mean reward / (1 - mean discount).

    The drift takes 1 / (tau (1 - gamma)) updates. reward, discount (gamma * bootstrap) and valid are (S, B); rows
    that are not valid do not count. Under mixer `sum` the level is that of the sum over agents.
    """
    left = per_seed_mean(valid) - per_seed_mean(valid * discount)
    return {"q_mean": per_seed_mean(q), "q_fixed_point": per_seed_mean(valid * reward) / left}


def shares(better: Tensor, adv: Tensor) -> dict[str, Tensor]:
    """Return the share of class 1, overall and per agent, how often agents agree, and mean and spread of A.

    Args:
        better: (S, B, N) bool conditions.
        adv: (S, B, N) the critic's advantages.
    """
    c = better.to(adv.dtype)
    info = {"c1_fraction": per_seed_mean(c), "adv_mean": per_seed_mean(adv), "adv_std": adv.flatten(1).std(1)}
    per_agent = {f"c1_fraction_{i}": c[..., i].mean(1) for i in range(c.shape[-1])}
    return info | per_agent | {"c_agreement": per_seed_mean(agreement(c))}


def agreement(c: Tensor) -> Tensor:
    """Return the share of pairs of agents with the same binary condition: c (S, B, N) of 0 and 1 -> (S, B)."""
    n, ones = c.shape[-1], c.sum(-1)
    if n == 1:
        return ones_like(ones)
    return (ones * (ones - 1) + (n - ones) * (n - ones - 1)) / (n * (n - 1))


def on_bounds(action: Tensor, discrete: bool, bound: float = 1.0) -> dict[str, Tensor]:
    """Return the share of the components of generated continuous actions (S, ...) that reach -bound or bound.

    A policy that is clipped reaches 1; one that ends in a tanh only comes near it: SATURATED.
    """
    return {} if discrete else {"clipped": per_seed_mean((action.abs() >= bound).to(action.dtype))}
