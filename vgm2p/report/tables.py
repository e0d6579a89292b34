"""Text tables of runs: mean and 95 % interval per acting noise, per-seed values, differences."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from vgm2p.report.collect import Run, final_returns, pooled
from vgm2p.report.grid import grid
from vgm2p.report.stats import difference, interval, mean

NOISES = (1.0, 0.5, 0.0)


def rows_of(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return one entry per experiment and method: random policy, dataset, then the algorithms.

    Each has `experiment`, `method`, `cells` {noise: (mean, low, high)}, `per_seed`, `seeds`, `own` (its own noise) and
    `above_data` (noises at which the interval lies above the dataset's mean).
    """
    entries: list[dict[str, Any]] = []
    seen: set[str] = set()
    for (experiment, algorithm), group in pooled(runs).items():
        results = group[0].results
        if experiment not in seen:
            seen.add(experiment)
            entries.append(_reference(experiment, "random policy", results, "random"))
            entries.append(_reference(experiment, "dataset mean", results, "dataset"))
        cells = {noise: _cell(final_returns(group, noise)) for noise in NOISES}
        own = results["act_noise"]
        returns = final_returns(group, own)
        entries.append(
            {
                "experiment": experiment,
                "method": algorithm,
                "cells": cells,
                "own": own,
                "per_seed": [mean([values]) for values in returns],
                "seeds": len(returns),
                "episodes": sum(len(values) for values in returns),
                "above_data": [n for n, cell in cells.items() if cell and cell[1] > results["dataset_return_mean"]],
            }
        )
    return entries


def _cell(returns: list[list[float]]) -> tuple[float, float, float] | None:
    return (mean(returns), *interval(returns)) if returns else None


def _reference(experiment: str, method: str, results: dict[str, Any], key: str) -> dict[str, Any]:
    cell = (results[f"{key}_return_mean"], *results[f"{key}_return_ci95"])
    cells = dict.fromkeys(NOISES, cell)
    return {"experiment": experiment, "method": method, "cells": cells, "own": None, "per_seed": [], "seeds": 0,
            "episodes": 0, "above_data": []}  # fmt: skip


def table(runs: Sequence[Run]) -> str:
    """Return a Markdown table per experiment; `*` marks intervals above the dataset's mean, `<` the run's own noise."""
    blocks = []
    entries = rows_of(runs)
    for experiment in dict.fromkeys(entry["experiment"] for entry in entries):
        header = ["return", *(f"act_noise {noise:g}" for noise in NOISES), "per seed"]
        body = [_line(entry) for entry in entries if entry["experiment"] == experiment]
        blocks.append(f"{experiment}\n\n{grid([header, *body])}")
    notes = (
        "mean [95 % interval, bootstrap over seeds, then episodes]; * above the dataset's mean; < the run's own setting"
    )
    return "\n\n".join([*blocks, notes])


def _line(entry: dict[str, Any]) -> list[str]:
    shown = []
    for noise in NOISES:
        cell = entry["cells"][noise]
        mark = ("*" if noise in entry["above_data"] else "") + ("<" if noise == entry["own"] else "")
        shown.append("" if cell is None else f"{cell[0]:.0f} [{cell[1]:.0f}, {cell[2]:.0f}]{mark}")
    if len(set(shown)) == 1:  # no acting noise: one value says it all
        shown = [shown[0], "", ""]
    return [entry["method"], *shown, " ".join(f"{value:.0f}" for value in entry["per_seed"])]


def versus(runs: Sequence[Run], algorithm: str) -> str:
    """Return a table of differences `algorithm` - other at each method's own noise, with 95 % intervals."""
    groups = pooled(runs)
    lines = [["experiment", "difference", "mean [95 % interval]"]]
    for (experiment, name), group in groups.items():
        base = groups.get((experiment, algorithm))
        if name == algorithm or base is None:
            continue
        ours, theirs = (final_returns(part, part[0].results["act_noise"]) for part in (base, group))
        centre, low, high = difference(ours, theirs)
        lines.append([experiment, f"{algorithm} - {name}", f"{centre:.0f} [{low:.0f}, {high:.0f}]"])
    return grid(lines)


def as_csv(runs: Sequence[Run]) -> str:
    """Return the table as CSV, one line per method and noise."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["experiment", "method", "act_noise", "mean", "ci95_low", "ci95_high", "seeds", "episodes"])
    for entry in rows_of(runs):
        for noise, cell in entry["cells"].items():
            if cell is not None:
                row = [entry["experiment"], entry["method"], noise, *(f"{x:.6g}" for x in cell)]
                writer.writerow([*row, entry["seeds"], entry["episodes"]])
    return text.getvalue()
