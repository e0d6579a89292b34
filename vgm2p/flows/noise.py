"""The noise that execution starts from."""

from __future__ import annotations

from torch import Tensor

from vgm2p.types import Randomness


def start_noise(
    key: Randomness, oid: Tensor, action_dim: int, scale: float, shared: bool, purpose: str = "act"
) -> Tensor:
    """Return scale * N(0, 1) of shape (S, ..., N, A) for oid (S, ..., N, O).

    `shared` gives all agents of a row the same noise: they draw it from a common seed, and stay decentralised.
    """
    *lead, agents = oid.shape[1:-1]
    noise = key.normal(purpose, (*lead, 1 if shared else agents, action_dim)).to(oid.dtype)
    return noise.expand(*oid.shape[:-1], action_dim) * scale
