"""The noise that execution starts from."""

from __future__ import annotations

from torch import Tensor

from vgm2p.types import Acting, Randomness


def start_noise(key: Randomness, o: Tensor, action_dim: int, acting: Acting, purpose: str = "act") -> Tensor:
    """Return acting.noise * N(0, 1) of shape (S, ..., N, A) for o (S, ..., N, O).

    `acting.shared` gives all agents of a row the same noise: they draw it from a common seed, and stay decentralised.
    """
    *lead, agents = o.shape[1:-1]
    noise = key.normal(purpose, (*lead, 1 if acting.shared else agents, action_dim)).to(o.dtype)
    return noise.expand(*o.shape[:-1], action_dim) * acting.noise
