"""The noise from which a flow policy generates actions."""

from __future__ import annotations

from torch import Tensor

from vgm2p.types import Acting, Randomness


def start_noise(key: Randomness, o: Tensor, action_dim: int, acting: Acting, purpose: str = "act") -> Tensor:
    """Return acting.noise * N(0, 1) of shape (S, ..., N, A) for o (S, ..., N, O).

    With `acting.shared`, all agents of a row have the same noise. They can draw it from a common seed, so execution
    stays decentralised. `purpose` names the draw (`Randomness.normal`).
    """
    *lead, agents = o.shape[1:-1]
    noise = key.normal(purpose, (*lead, 1 if acting.shared else agents, action_dim)).to(o.dtype)
    return noise.expand(*o.shape[:-1], action_dim) * acting.noise
