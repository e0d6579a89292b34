"""The scale of a table's numbers: returns, or normalised scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from vgm2p.report.paper.cells import PaperCell
from vgm2p.report.runs import Run, data_mean
from vgm2p.report.tables import Cell

NORMALISED = "normalised scores: 0 is the random policy, 100 the mean return of the dataset"


def references(run: Run) -> tuple[float, float] | None:
    """Return the return of the random policy and of the dataset; None if they make no scale.

    They make none where the dataset is not better than the random policy, or has returns of another kind.
    """
    floor, ceiling = run.results.get("random_return_mean"), data_mean(run.results, "return")
    return (float(floor), float(ceiling)) if floor is not None and ceiling is not None and ceiling > floor else None


@dataclass(frozen=True)
class Scale:
    """Returns as they are, or normalised scores.

    Attributes:
        applied: whether numbers are normalised.
        known: experiment -> returns of the random policy and of the dataset, as our runs have measured them.
    """

    applied: bool = False
    known: dict[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the scale, for files."""
        return "normalised" if self.applied else "return"

    @property
    def title(self) -> str:
        """What follows the title of a table."""
        return f", {NORMALISED}" if self.applied else ", mean returns"

    def of(self, cell: PaperCell, value: float) -> float | None:
        """Return a value on this scale; None where no run has measured the scale."""
        if not self.applied:
            return value
        ends = self.known.get(cell.published.experiment)
        return None if ends is None else 100 * (value - ends[0]) / (ends[1] - ends[0])

    def width(self, cell: PaperCell, value: float) -> float:
        """Return a distance on this scale; NaN where no run has measured the scale."""
        if not self.applied:
            return value
        ends = self.known.get(cell.published.experiment)
        return math.nan if ends is None else 100 * value / (ends[1] - ends[0])

    def cell(self, cell: PaperCell, values: Cell) -> Cell:
        """Return a mean and its interval on this scale."""
        centre, low, high = (self.of(cell, value) for value in values)
        return (_number(centre), _number(low), _number(high))

    def differing(self, cell: PaperCell, values: Cell) -> Cell:
        """Return a difference and its interval on this scale."""
        centre, low, high = (self.width(cell, value) for value in values)
        return centre, low, high


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def normalised(runs: Sequence[Run]) -> Scale:
    """Return the scale of normalised scores, from the first run of each experiment that knows its ends."""
    known: dict[str, tuple[float, float]] = {}
    for run in runs:
        ends = references(run)
        if ends is not None:
            known.setdefault(run.key[0], ends)
    return Scale(True, known)
