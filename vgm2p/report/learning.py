"""The numbers of learning curves: means and intervals over the seeds of a method, at every evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vgm2p.report.estimates import interval, mean, rate_interval
from vgm2p.report.runs import Run, data_mean

Curve = dict[int, dict[int, list[float]]]  # update -> seed -> values of the episodes
Point = tuple[int, float, float, float]  # update, mean, and the ends of the 95 % interval


def shared_updates(curves: Sequence[Curve]) -> list[int]:
    """Return the updates at which all seeds of a method were evaluated, in order; runs without a curve do not count.

    At other updates the mean would be of other seeds: a jump of the curve would be no progress.
    """
    return sorted(set.intersection(*(_complete(curve) for curve in curves if curve))) if any(curves) else []


def _complete(curve: Curve) -> set[int]:
    """Return the updates at which all seeds of a run were evaluated."""
    seeds = {seed for table in curve.values() for seed in table}
    return {update for update, table in curve.items() if table.keys() == seeds}


def points(curves: Sequence[Curve], updates: Sequence[int], rates: bool = False) -> list[Point]:
    """Return the curve of a method, in order of updates.

    Args:
        curves: those of its runs; their seeds count together.
        updates: the evaluations to take, of `shared_updates`.
        rates: whether the values are victories, 0 or 1.
    """
    around = rate_interval if rates else interval
    found = []
    for update in updates:
        values = [seed for curve in curves for seed in curve.get(update, {}).values()]
        found.append((update, mean(values), *around(values)))
    return found


def single_seeds(curves: Sequence[Curve], updates: Sequence[int]) -> list[list[tuple[int, float]]]:
    """Return the curve of every seed of every run, as (update, mean) at those `updates` that it has."""
    found = []
    for curve in curves:
        for seed in dict.fromkeys(seed for table in curve.values() for seed in table):
            have = [update for update in updates if seed in curve.get(update, {})]
            found.append([(update, mean([curve[update][seed]])) for update in have])
    return found


def levels(runs: Sequence[Run], won: bool) -> dict[str, float]:
    """Return the levels to compare curves of returns or win rates with: of the dataset and of the random policy.

    Each is of the first run that knows it. A level that no run knows is left out, and that of the dataset if the runs
    had several datasets.
    """
    found: dict[str, float | None] = {"dataset mean": None, "random policy": None}
    for results in (run.results for run in runs):
        known = _levels(results, "won" if won else "return")
        found = {name: known[name] if value is None else value for name, value in found.items()}
    if len({run.results.get("data_digest") for run in runs}) > 1:
        found["dataset mean"] = None
    return {name: value for name, value in found.items() if value is not None}


def _levels(results: Mapping[str, Any], measure: str) -> dict[str, float | None]:
    scored = measure == "return" and "score_mean" in results  # scores are returns on one scale
    return {
        "dataset mean": data_mean(dict(results), "score" if scored else measure),
        "random policy": results.get(f"random_{measure}_mean"),
    }
