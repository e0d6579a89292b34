"""Text tables of runs: mean and 95 % interval per acting noise, per-seed values, differences."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from vgm2p.io.artifacts import Acting
from vgm2p.report.collect import Run, final_returns, pooled, ways_of
from vgm2p.report.grid import decimals, grid
from vgm2p.report.stats import difference, interval, mean


def rows_of(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return one entry per experiment and method: random policy, dataset, then the algorithms.

    Each has `experiment`, `method`, `cells` {way to act: (mean, low, high)}, `per_seed`, `seeds`, `own` (its own way)
    and `above_data` (ways in which the interval lies above the dataset's mean).
    """
    entries: list[dict[str, Any]] = []
    seen: set[str] = set()
    ways = ways_of(runs)
    for (experiment, algorithm), group in pooled(runs).items():
        results = group[0].results
        if experiment not in seen:
            seen.add(experiment)
            entries.append(_reference(experiment, "random policy", results, "random", ways))
            entries.append(_reference(experiment, "dataset mean", results, "dataset", ways))
        cells = {way: _cell(final_returns(group, way)) for way in ways}
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
                "above_data": [way for way, cell in cells.items() if cell and cell[1] > results["dataset_return_mean"]],
            }
        )
    return entries


def _cell(returns: list[list[float]]) -> tuple[float, float, float] | None:
    return (mean(returns), *interval(returns)) if returns else None


def _reference(
    experiment: str, method: str, results: dict[str, Any], key: str, ways: Sequence[Acting]
) -> dict[str, Any]:
    cell = (results[f"{key}_return_mean"], *results[f"{key}_return_ci95"])
    cells = dict.fromkeys(ways, cell)
    return {"experiment": experiment, "method": method, "cells": cells, "own": None, "per_seed": [], "seeds": 0,
            "episodes": 0, "above_data": []}  # fmt: skip


def table(runs: Sequence[Run]) -> str:
    """Return a Markdown table per experiment; `*` marks intervals above the dataset's mean, `<` the run's own noise."""
    blocks = []
    entries = rows_of(runs)
    for experiment in dict.fromkeys(entry["experiment"] for entry in entries):
        here = [entry for entry in entries if entry["experiment"] == experiment]
        ways = ways_of([run for run in runs if run.key[0] == experiment])
        header = ["return", *(_title(way) for way in ways), "per seed"]
        digits = decimals(bound for entry in here for cell in entry["cells"].values() for bound in cell or ())
        body = [_line(entry, ways, digits) for entry in here]
        blocks.append(f"{experiment}\n\n{grid([header, *body])}")
    notes = (
        "mean [95 % interval, bootstrap over seeds, then episodes]; * above the dataset's mean; < the run's own setting"
    )
    return "\n\n".join([*blocks, notes])


def _title(way: Acting) -> str:
    return "mean" if way is None else f"act_noise {way:g}" if isinstance(way, float) else f"{way} noise"


def _line(entry: dict[str, Any], ways: Sequence[Acting], digits: int) -> list[str]:
    shown = []
    for way in ways:
        cell = entry["cells"][way]
        mark = ("*" if way in entry["above_data"] else "") + ("<" if entry["seeds"] and way == entry["own"] else "")
        shown.append("" if cell is None else f"{bounds(cell, digits)}{mark}")
    if len(set(shown)) == 1:  # one way to act: one value says it all
        shown = [shown[0], *[""] * (len(ways) - 1)]
    return [entry["method"], *shown, " ".join(f"{value:.{digits}f}" for value in entry["per_seed"])]


def bounds(cell: tuple[float, float, float], digits: int) -> str:
    """Return `mean [low, high]`."""
    return f"{cell[0]:.{digits}f} [{cell[1]:.{digits}f}, {cell[2]:.{digits}f}]"


def versus(runs: Sequence[Run], algorithm: str, best: bool = False) -> str:
    """Return a table of differences `algorithm` - other with 95 % intervals, each method acting in its own way.

    `best`: each in the way with its highest mean instead; picked on these very episodes, for both sides.
    """
    groups = pooled(runs)
    lines = [["experiment", "difference", "mean [95 % interval]"]]
    for (experiment, name), group in groups.items():
        base = groups.get((experiment, algorithm))
        if name == algorithm or base is None:
            continue
        sides = [(part, best_way(part) if best else part[0].results["act_noise"]) for part in (base, group)]
        returns = [final_returns(part, way) for part, way in sides]
        digits = decimals(value for side in returns for values in side for value in values)
        title = " - ".join(_named(label, way) for label, (_, way) in zip((algorithm, name), sides, strict=True))
        lines.append([experiment, title, bounds(difference(*returns), digits)])
    return grid(lines)


def best_way(runs: Sequence[Run]) -> Acting:
    """Return the way to act with the highest mean return."""
    return max(ways_of(runs), key=lambda way: mean(final_returns(runs, way)))


def _named(name: str, way: Acting) -> str:
    return name if way is None else f"{name} ({way})"


def as_csv(runs: Sequence[Run]) -> str:
    """Return the table as CSV, one line per method and way to act."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["experiment", "method", "act_noise", "mean", "ci95_low", "ci95_high", "seeds", "episodes"])
    for entry in rows_of(runs):
        for way, cell in entry["cells"].items():
            if cell is not None:
                row = [entry["experiment"], entry["method"], way, *(f"{x:.6g}" for x in cell)]
                writer.writerow([*row, entry["seeds"], entry["episodes"]])
    return text.getvalue()
