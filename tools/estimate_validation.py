"""How well estimates without a simulator rank policies: against the simulator's returns, over finished runs.

    python -m tools.estimate_validation <run folders or globs> [--out estimate-validation]

Reads what `vgm2p estimate` and `vgm2p fit` have left in the folders (estimate.json, results.json) and runs nothing. A
policy is one training seed in one way to act. Policies are compared where the same question was asked about the same
dataset. Writes <out>.md and <out>.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgm2p.errors import MissingInput, UserError
from vgm2p.io.files import write_atomic
from vgm2p.io.text import grid, shown
from vgm2p.report.estimates import FIXED_SEED, RESAMPLES
from vgm2p.report.ranking import bounds95, rank_correlation
from vgm2p.report.runs import expand
from vgm2p.report.values import OWN, read_estimates
from vgm2p.run.folder import RunFolder, write_json


@dataclass(frozen=True)
class Point:
    """A policy: the run that trained it, its estimate on the scale of returns, its return in the simulator."""

    run: str
    name: str
    estimate: float
    measured: float


def points_of(folder: Path) -> tuple[str, str, list[Point]]:
    """Return question, name of the dataset, and the policies of a run folder that have both numbers.

    Raises UserError where a file is missing or damaged.
    """
    path = folder / OWN
    found = read_estimates(path, str(folder), RunFolder(folder).read_results())
    points = [
        Point(str(folder), f"{one.name}, seed {seed}", one.returned(s)[0], one.simulator[s])
        for one in found
        if one.simulator is not None
        for s, seed in enumerate(one.seeds)
        if not one.outside(s)
    ]
    if not points:
        raise MissingInput(f"{folder}: no estimate that means something beside a return of the simulator")
    return json.dumps(found[0].question, sort_keys=True), str(json.loads(path.read_text())["data"]), points


def agreement(points: Sequence[Point]) -> dict[str, Any]:
    """Return rank correlation with its 95 % interval, and what the choice of the estimate costs.

    The bootstrap draws runs, since seeds of one run are alike; seeds, where there is one run.
    `regret`: the simulator's best return less that of the policy that the estimate rates best, and its share of the
    range of all returns.
    """
    estimates, measured = (np.array([getattr(point, name) for point in points]) for name in ("estimate", "measured"))
    runs = list(dict.fromkeys(point.run for point in points))
    units = [[i for i, point in enumerate(points) if point.run == run] for run in runs]
    if len(units) == 1:
        units = [[i] for i in units[0]]
    chosen = int(estimates.argmax())
    regret, reach = float(measured.max() - measured[chosen]), float(np.ptp(measured))
    return {
        "policies": len(points),
        "runs": len(runs),
        "rank_correlation": rank_correlation(estimates, measured),
        "ci95": _bootstrap(estimates, measured, units),
        "mean_error": float((estimates - measured).mean()),
        "chosen": points[chosen].name,
        "regret": regret,
        "regret_share": regret / reach if reach else 0.0,
    }


def _bootstrap(
    estimates: NDArray[np.float64], measured: NDArray[np.float64], units: Sequence[Sequence[int]]
) -> list[float]:
    generator = np.random.default_rng([FIXED_SEED, len(units)])
    found = []
    for drawn in generator.integers(len(units), size=(RESAMPLES, len(units))):
        rows = [i for unit in drawn for i in units[unit]]
        found.append(rank_correlation(estimates[rows], measured[rows]))
    finite = np.array(found)[np.isfinite(found)]
    return list(bounds95(finite)) if len(finite) else [float("nan")] * 2


def page(groups: dict[str, list[Point]]) -> tuple[str, list[dict[str, Any]]]:
    """Return a table of all groups for people, and their numbers."""
    lines = [["dataset", "policies", "runs", "rank correlation [95 %]", "choice loses", "share", "mean error"]]
    numbers = []
    for name, points in groups.items():
        found = agreement(points)
        low, high = found["ci95"]
        cells = [f"{found['rank_correlation']:.2f} [{low:.2f}, {high:.2f}]", shown(found["regret"])]
        cells += [f"{found['regret_share']:.0%}", shown(found["mean_error"])]
        lines.append([name, str(found["policies"]), str(found["runs"]), *cells])
        each = [{"policy": p.name, "estimate": p.estimate, "measured": p.measured} for p in points]
        numbers.append({"dataset": name, **found, "points": each})
    return grid(lines), numbers


def main(words: Sequence[str] | None = None) -> int:
    """Print and write the comparison; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.estimate_validation")
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--out", type=Path, default=Path("estimate-validation"))
    options = parser.parse_args(words)
    groups: dict[tuple[str, str], list[Point]] = {}
    for folder in expand(options.runs):
        try:
            question, data, points = points_of(folder)
        except UserError as error:
            print(f"left out: {error.line}", file=sys.stderr)
            continue
        groups.setdefault((data, question), []).extend(points)
    if not groups:
        print("none of these folders has both an estimate and a return of the simulator", file=sys.stderr)
        return MissingInput.exit_code
    names = [data if [d for d, _ in groups].count(data) == 1 else f"{data} ({i})" for i, (data, _) in enumerate(groups)]
    text, numbers = page(dict(zip(names, groups.values(), strict=True)))
    print(text)
    write_atomic(options.out.with_suffix(".md"), text + "\n")
    write_json(options.out.with_suffix(".json"), {"datasets": numbers})
    print(f"written to {options.out.with_suffix('.md')} and {options.out.with_suffix('.json')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
