"""The numbers of learning curves: means and intervals over the seeds of a method, at every evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vgm2p.report.estimates import interval, mean, rate_interval
from vgm2p.report.runs import data_mean

Curve = dict[int, dict[int, list[float]]]  # update -> seed -> values of the episodes
Point = tuple[int, float, float, float]  # update, mean, and the ends of the 95 % interval


def points(curves: Sequence[Curve], updates: Sequence[int] | None = None, rates: bool = False) -> list[Point]:
    """Return the curve of a method, in order of updates.

    Args:
        curves: those of its runs; their seeds count together.
        updates: the evaluations to take; None: all.
        rates: whether the values are victories, 0 or 1.
    """
    merged: dict[int, list[list[float]]] = {}
    for curve in curves:
        for update, seeds in curve.items():
            merged.setdefault(update, []).extend(seeds.values())
    around = rate_interval if rates else interval
    chosen = sorted(merged) if updates is None else updates
    return [(update, mean(merged[update]), *around(merged[update])) for update in chosen]


def single_seeds(curves: Sequence[Curve], updates: Sequence[int]) -> list[list[tuple[int, float]]]:
    """Return the curve of every seed of every run, as (update, mean) at those `updates` that it has."""
    found = []
    for curve in curves:
        for seed in dict.fromkeys(seed for table in curve.values() for seed in table):
            have = [update for update in updates if seed in curve.get(update, {})]
            found.append([(update, mean([curve[update][seed]])) for update in have])
    return found


def levels(results: Mapping[str, Any], won: bool) -> dict[str, float]:
    """Return the levels to compare curves of returns or win rates with: of the dataset and of the random policy.

    `results` is the content of results.json. A level that is not known is left out.
    """
    measure = "won" if won else "return"
    scored = not won and "score_mean" in results  # scores are returns on one scale
    found = {
        "dataset mean": data_mean(dict(results), "score" if scored else measure),
        "random policy": results.get(f"random_{measure}_mean"),
    }
    return {name: value for name, value in found.items() if value is not None}
