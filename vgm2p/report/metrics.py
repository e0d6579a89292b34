"""Evaluation statistics as torchmetrics, with one value per seed (states of shape (S,))."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from vgm2p.report.estimates import iqm, wilson


class PerSeed(Metric):
    """Base class: adds each value to the state of its seed.

    Args:
        seeds: number of seeds S.
    """

    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self, seeds: int, **options: Any) -> None:
        super().__init__(**options)
        for name in ("total", "count"):
            self.add_state(name, torch.zeros(seeds, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, seed: Tensor, value: Tensor) -> None:
        """Add values (M,); `seed` (M,) holds the position of each value's seed."""
        value = value.double()
        self.total.index_add_(0, seed, value)
        self.count.index_add_(0, seed, torch.ones_like(value))


class Mean(PerSeed):
    """Mean per seed; for returns and lengths."""

    def compute(self) -> Tensor:
        """Return (S,) means, NaN for a seed without values."""
        return self.total / self.count


class Total(PerSeed):
    """Sum per seed; for environment faults."""

    def compute(self) -> Tensor:
        """Return (S,) sums."""
        return self.total


class WinRate(PerSeed):
    """Share of won episodes per seed, with the Wilson interval."""

    def compute(self) -> Tensor:
        """Return (S,) rates."""
        return self.total / self.count

    def intervals(self) -> list[tuple[float, float]]:
        """Return the 95 % Wilson interval of each seed."""
        return [wilson(int(won), int(n)) for won, n in zip(self.total.tolist(), self.count.tolist(), strict=True)]


class KeptPerSeed(Metric):
    """Base class: keeps all values, for statistics that sums do not give, or not with all digits.

    Args:
        seeds: number of seeds S.
    """

    full_state_update = False
    seed: list[Tensor]
    value: list[Tensor]

    def __init__(self, seeds: int, **options: Any) -> None:
        super().__init__(**options)
        self.seeds = seeds
        self.add_state("seed", [], dist_reduce_fx="cat")
        self.add_state("value", [], dist_reduce_fx="cat")

    def update(self, seed: Tensor, value: Tensor) -> None:
        """Add values (M,); `seed` (M,) holds the position of each value's seed."""
        self.seed.append(seed)
        self.value.append(value.double())

    def of_seeds(self) -> Iterator[Tensor]:
        """Yield the values of each seed."""
        seed, value = torch.cat(self.seed), torch.cat(self.value)
        return (value[seed == s] for s in range(self.seeds))


class Deviation(KeptPerSeed):
    """Population standard deviation per seed."""

    def compute(self) -> Tensor:
        """Return (S,) standard deviations."""
        return torch.stack([value.std(correction=0) for value in self.of_seeds()])


class InterquartileMean(KeptPerSeed):
    """Interquartile mean per seed."""

    def compute(self) -> Tensor:
        """Return (S,) interquartile means."""
        return torch.tensor([iqm(value.tolist()) for value in self.of_seeds()], dtype=torch.float64)
