"""The half of docs/results.md about battles, written from finished runs and the recorded data."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tools.results.battles import CLONES, GUIDED, ROWS, SETS, SIZE
from tools.results.cells import Row, command_table, finished, load_finished
from tools.results.page import halves, save
from vgm2p.datamodules.layout.reading import read
from vgm2p.io.text import grid
from vgm2p.report.estimates import Seeds, difference, interval, mean, rate_interval
from vgm2p.report.runs import Run, final_values
from vgm2p.report.tables import bounds
from vgm2p.run.folder import Way


@dataclass(frozen=True)
class MethodResult:
    """One method in one way to act.

    Attributes:
        label: name of the row.
        acting: scale of the start noise, or the name of the way; None if the method has one way only.
        won: for every seed, 0 or 1 of each episode.
        returns: for every seed, the return of each episode.
    """

    label: str
    acting: Way
    won: Seeds
    returns: Seeds

    @property
    def name(self) -> str:
        """Label and way to act."""
        shown = f"{self.acting:g}" if isinstance(self.acting, float) else self.acting
        return self.label if shown is None else f"{self.label} ({shown})"


def write(runs: Path, docs: Path) -> None:
    """Write this half of the page from the finished cells below `runs`. The page lists the missing cells."""
    parts = [_head()]
    for experiment in SETS:
        parts += _experiment(runs, experiment)
    missing = [
        f"{experiment}: {row.label}" for experiment in SETS for row in ROWS if not finished(runs, experiment, row)
    ]
    if missing:
        parts.append("Not run yet: " + ", ".join(f"`{name}`" for name in missing) + ".")
    robots, _ = halves(docs)
    save(docs, robots, "\n\n".join(parts))


def _head() -> str:
    return f"""# Battles: SMAX

`make results-smax` writes this half of the page. The data are battles of the environment's heuristic at noise 0, 0.1
and 0.3, recorded on the same machine ([smax.md](smax.md)). No table here reproduces one of the paper. All rows have the
same network size and budget, fixed before the runs: `{" ".join(SIZE)}`. Every run trains five seeds. Every seed is
evaluated for a hundred episodes in each way to act (its noise in brackets). The starts are the same for all seeds and
rows. Intervals are 95 % bootstrap intervals over seeds, then episodes, with one draw of starts for all seeds.

`plus_battle` was chosen on `smax_3m` (two or three seeds, about fifteen variants). So its lead there is on the data of
its choice; [smax.md](smax.md#on-other-starts) has its results on 400 other starts. No setting was chosen on
`smax_2s3z`. [smax.md](smax.md#what-was-tried-on-2s3z) shows what was tried there to explain the results. `vgm2p_plus`
runs with its default settings, whose critic is scaled for the long episodes of robots. The critic of `plus_battle` is
scaled for battles. [smax_baselines.md](smax_baselines.md) has MA-BCQ and MA-CQL on the same data.

| row | `python -m vgm2p fit experiment=<set>` and |
|---|---|
{command_table(ROWS)}"""


def _experiment(runs: Path, experiment: str) -> list[str]:
    done = load_finished(runs, experiment, ROWS)
    if not done:
        return []
    return [*rates(done), *_differences([result for run in done for result in results_of(run)])]


def rates(done: list[Run]) -> list[str]:
    """Return the heading of an experiment, a line about its data, and a table: a row per method and way to act."""
    first = done[0]
    data, versions = first.manifest["data"], first.manifest["environment_versions"]
    results = [*behaviours(first), *(result for run in done for result in results_of(run))]
    lines = [["", "win rate", "return", "win rate per seed"], _random(first), *map(_line, results)]
    text = (
        f"{data['episodes']} episodes, {data['transitions']} transitions, digest `{data['digest'][:16]}`; "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + f"; {first.manifest['device']}."
    )
    return [f"## {first.key[0]}", text, grid(lines)]


def results_of(run: Run) -> list[MethodResult]:
    """Return one result for each way to act in the final evaluation of a run."""
    return [
        MethodResult(
            run.key[1],
            way,
            final_values([run], way, "won"),
            final_values([run], way),
        )
        for way in run.final["return"]
    ]


def behaviours(run: Run) -> list[MethodResult]:
    """Return a result per behaviour policy of the recorded data, and last one of all data; none without the file.

    A battle is won if its last reward is at least 1. A packed cell names the data's folder as `$VGM2P_DATA`.
    """
    path = Path(os.path.expandvars(run.manifest["config"]["data"]["source"]["paths"][0]))
    if not path.is_file():
        return []
    columns = read(path)
    episodes = columns.episodes
    last = columns.steps["rewards"][episodes["start"] + episodes["length"] - 1]
    won, returns = (last >= 1.0).astype(float), episodes["return"]

    def result(name: str, chosen: NDArray[np.bool_]) -> MethodResult:
        return MethodResult(name, None, [won[chosen].tolist()], [returns[chosen].tolist()])

    found = []
    for index, record in enumerate(json.loads(columns.attributes["behaviours"])):
        mine = episodes["behaviour"] == index
        found.append(result(f"data: {record['policy']}, noise {record['noise']:g} ({mine.sum()} episodes)", mine))
    return [*found, result("data", np.ones(len(won), bool))]


def _random(run: Run) -> list[str]:
    results = run.results
    return ["random policy", "", bounds((results["random_return_mean"], *results["random_return_ci95"]), 2), ""]


def _line(result: MethodResult) -> list[str]:
    seeds = " ".join(f"{np.mean(values):.2f}" for values in result.won) if len(result.won) > 1 else ""
    won = bounds((mean(result.won), *rate_interval(result.won)), 2)
    return [result.name, won, bounds((mean(result.returns), *interval(result.returns)), 2), seeds]


def _differences(results: list[MethodResult]) -> list[str]:
    """Compare the guided row that wins most often with every cloning row, each in its best way to act."""
    best = _best(results, GUIDED)
    rivals = [_best(results, [row]) for row in CLONES]
    if best is None or not any(rivals):
        return []
    lines = [["difference", "win rate", "return"]]
    for rival in filter(None, rivals):
        sides = ((best.won, rival.won), (best.returns, rival.returns))
        found = [bounds(difference(*pair), 2) for pair in sides]
        lines.append([f"{best.name} - {rival.name}", *found])
    note = (
        "Differences between the best guided row and every clone, each in its best way to act. Both sides are selected "
        "on these same episodes, the guided one among more rows. The intervals do not include this selection:"
    )
    return [note, grid(lines)]


def _best(results: list[MethodResult], rows: list[Row]) -> MethodResult | None:
    labels = [row.label for row in rows]
    return max(
        (result for result in results if result.label in labels), key=lambda result: mean(result.won), default=None
    )
