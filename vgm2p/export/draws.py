"""The random numbers with which a policy acts: found by watching it, then given to it as inputs of a graph."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from vgm2p.flows.noise import STARTS
from vgm2p.types import Acting, Randomness

Law = Literal["normal", "uniform"]
LAWS: dict[Law, str] = {"normal": "standard normal, N(0, 1)", "uniform": "uniform on [0, 1)"}


@dataclass(frozen=True)
class Draw:
    """Random numbers for which a policy asks in a step.

    Attributes:
        purpose: the name by which it asks (`types.Randomness`).
        law: their distribution.
        shape: shape without the axis of the episodes.
    """

    purpose: str
    law: Law
    shape: tuple[int, ...]


class Watched:
    """Random numbers for one seed that notes what was asked for. Implements `types.Randomness`.

    Args:
        source: where the numbers come from.

    Attributes:
        draws: what was asked for, in order.
        values: purpose -> numbers (E, *shape).
    """

    def __init__(self, source: Randomness) -> None:
        self.source = source
        self.draws: list[Draw] = []
        self.values: dict[str, Tensor] = {}

    def normal(self, purpose: str, shape: tuple[int, ...]) -> Tensor:
        """Return N(0, 1) float32 of shape (1, *shape)."""
        return self._noted(purpose, "normal", shape, self.source.normal(purpose, shape))

    def fresh(self, purpose: str, shape: tuple[int, ...]) -> Tensor:
        """Return N(0, 1) float32 of shape (1, *shape)."""
        return self._noted(purpose, "normal", shape, self.source.fresh(purpose, shape))

    def uniform(self, purpose: str, shape: tuple[int, ...]) -> Tensor:
        """Return U[0, 1) float32 of shape (1, *shape)."""
        return self._noted(purpose, "uniform", shape, self.source.uniform(purpose, shape))

    def integers(self, purpose: str, shape: tuple[int, ...], high: int) -> Tensor:
        """No policy acts with random integers."""
        raise NotImplementedError("a graph has no input for random integers")

    def _noted(self, purpose: str, law: Law, shape: Sequence[int], found: Tensor) -> Tensor:
        self.draws.append(Draw(purpose, law, tuple(shape[1:])))
        self.values[purpose] = found[0]
        return found


class Given:
    """Random numbers that are inputs: purpose -> (E, *shape). Implements `types.Randomness` for one seed.

    The start noise of a policy that acts without noise is no input. It is zero here.
    """

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        self.values = values

    def normal(self, purpose: str, shape: tuple[int, ...]) -> Tensor:
        """Return the input for this purpose, (1, *shape)."""
        return self.values[purpose].unsqueeze(0) if purpose in self.values else torch.zeros(1, *shape)

    fresh = uniform = normal

    def integers(self, purpose: str, shape: tuple[int, ...], high: int) -> Tensor:
        """No policy acts with random integers."""
        raise NotImplementedError("a graph has no input for random integers")


def needed(draws: Sequence[Draw], acting: Acting | None) -> dict[str, Draw]:
    """Return input name -> draw, for draws that have an effect: without `acting.noise`, the start noise has none."""
    silent = acting is not None and acting.noise == 0.0
    used = [draw for draw in draws if not (silent and draw.law == "normal" and draw.purpose in STARTS)]
    if len(used) == 1:
        return {"noise": used[0]}
    return {f"noise_{re.sub(r'[^A-Za-z0-9]+', '_', draw.purpose)}": draw for draw in used}
