"""The noise from which a policy generates actions."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from vgm2p.types import Acting, Randomness

STARTS = ("act", "plan")  # purposes of the start noise of an action; `acting.noise` scales it


def start_noise(key: Randomness, o: Tensor, action_dim: int, acting: Acting, purpose: str = "act") -> Tensor:
    """Return acting.noise * N(0, 1) of shape (S, ..., N, A) for o (S, ..., N, O).

    With `acting.shared`, all agents of a row have the same noise. They can draw it from a common seed, so execution
    stays decentralised. `purpose` names the draw (`Randomness.normal`).
    """
    return _agents_noise(key.normal, o, action_dim, acting, purpose) * acting.noise


def step_noise(key: Randomness, o: Tensor, action_dim: int, acting: Acting, level: int) -> Tensor:
    """Return N(0, 1) as `start_noise`, for the step of ancestral sampling from `level`. Its scale is always 1."""
    return _agents_noise(key.fresh, o, action_dim, acting, f"act_{level}")


def _agents_noise(
    draw: Callable[[str, tuple[int, ...]], Tensor], o: Tensor, action_dim: int, acting: Acting, purpose: str
) -> Tensor:
    *lead, agents = o.shape[1:-1]
    noise = draw(purpose, (*lead, 1 if acting.shared else agents, action_dim)).to(o.dtype)
    return noise.expand(*o.shape[:-1], action_dim)
