"""Ways to act: their names, their order, and how they are written. `execution.evaluation` knows what they do."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

SHARED, MODE, SAMPLE, JUDGED = "shared", "mode", "sample", "judged"
NAMED = (SHARED, MODE, SAMPLE, JUDGED)
# A way to act: a scale of the start noise; SHARED: scale 1, one noise for all agents; None: the default. For discrete
# actions: MODE: the most likely action without noise; SAMPLE: an action drawn from the policy's probabilities;
# JUDGED: the mode of the probabilities after they were weighed by the algorithm's verdict.
Way = float | str | None
TITLES = {None: "mean", SHARED: "shared noise", MODE: "mode", SAMPLE: "sample", JUDGED: "judged"}


def is_way(value: Any) -> bool:
    """Return whether a value is a way to act: a scale of the start noise (from 0), a name, or None."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf
    return value is None or number or value in NAMED


def way_of(cell: str) -> Way:
    """Return the way to act of a cell of the column `act_noise`. Raises ValueError if it names none."""
    return (cell if cell in NAMED else float(cell)) if cell else None


def in_order(found: Collection[Way]) -> list[Way]:
    """Return ways to act without repetitions: the largest noise first, names last. The default (None) is left out."""
    scales = sorted({way for way in found if isinstance(way, float)}, reverse=True)
    return [*scales, *(way for way in NAMED if way in found)]


def way_text(way: Way) -> str:
    """Return a way to act as text, without zeros at the end of a scale."""
    return f"{way:g}" if isinstance(way, float) else str(way)


def way_title(way: Way) -> str:
    """Return the title of the column of a way to act."""
    if isinstance(way, float):
        return f"act_noise {way_text(way)}"
    return TITLES[way]
