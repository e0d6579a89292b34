"""The half of docs/results.md about battles, written from finished runs and the recorded data."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tools.results.battles import BUDGET, CLONE, PAGE, PARTS, PLUS, VALUES
from tools.results.cells import Row, cells, command_table, finished, load_finished
from tools.results.page import halves, save
from tools.results.rivals import own, shown, verdicts
from vgm2p.datamodules.layout.reading import read
from vgm2p.errors import DataError
from vgm2p.io.text import grid
from vgm2p.report.estimates import Seeds, interval, mean, rate_difference, rate_interval
from vgm2p.report.runs import Run, final_values, ways_of
from vgm2p.report.tables import bounds
from vgm2p.run.ways import Way, way_text

TEXT = """# Battles: SMAX

`make results-smax` writes this half of the page. The data are battles of the environment's heuristic at noise 0, 0.1
and 0.3, recorded on the same machine ([smax.md](smax.md)). No table here reproduces one of the paper. All rows have
the same network size and budget, fixed before the runs: `{size}`. Every run trains five seeds. Every seed is
evaluated for a hundred episodes in each [way to act](algorithms/clean_action.md#ways-to-act). The starts are the same
for all seeds and rows. The columns `1` (one draw of start noise), `mode`, `sample` and `judged` have win rates. `<`
marks the default way, which a deployed policy takes; the return and the difference of win rates are those of this
way. The data have one win rate, in the first column. Intervals are 95 % bootstrap intervals over seeds, then
episodes, with one draw of starts for all seeds. Differences are paired by start. A row that won all battles, or none,
has no bootstrap: its interval is Wilson's, and that of a difference to it is Newcombe's.

What holds: BC(FM) and BC(MF) win about as often as the categorical clone. A draw of start noise costs them nothing.
`vgm2p_plus` wins more often than all other rows on `smax_2s3z`, also on [400 other starts](smax.md#fresh-battles). With
sampled actions, guided rows win more often than clones of all steps: both conditions remove noise.

What does not hold: on the other maps, `vgm2p_plus` cannot be told from the best other row. On `smax_2s3z`, `vgm2p` wins
less often than the clones, because the verdict of its bootstrapped critic misleads ([how to see
it](algorithms/vgm2p.md#when-a-guided-row-loses-to-its-clone)). On `smax_5m_vs_6m` the heuristic wins no battle, and
nothing that learns from it does; there, look at the return.

`vgm2p_plus` is trained as `vgm2p_realised`. Its 256 rows for the judge and the default of `beta` were chosen on
`smax_2s3z`, with the seeds 0 and 1 ([how](notes/vgm2p_realised.md)), nothing on the other maps. Its judge reads 256
rows per update, its policy 64, as in all other rows. `_10`: steps are drawn by return, with an effective sample size of
a tenth. [smax_baselines.md](smax_baselines.md) has MA-BCQ and MA-CQL on the same data.

| row | `python -m vgm2p fit experiment=<set>` and |
|---|---|
"""
GAPS = """## `vgm2p_plus` against the best of the others

`vgm2p_plus` acts in its own way, without noise. The others are all rows of the set, and the finished rows of
[smax_baselines.md](smax_baselines.md). Each acts in its best way, and the best row is shown; both are selected on
these same battles, which favours the others. `*`: the interval excludes 0."""
SUMMARY = {
    "won": "Against the best of the others, the interval of the difference of victories",
    "return": "That of the difference of returns",
}


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
    wanted: dict[str, list[Row]] = {}
    for experiment, row in cells(PARTS, PAGE):
        wanted.setdefault(experiment, []).append(row)
    parts, against = [], {}
    for experiment, rows in wanted.items():
        done = load_finished(runs, experiment, rows)
        parts += _experiment(done) if done else []
        missing = [f"`{row.label}`" for row in rows if not finished(runs, experiment, row)]
        parts += [f"Not run yet on `{experiment}`: {', '.join(missing)}."] if missing else []
        every = {run.key[1]: run for run in (*done, *load_finished(runs, experiment, VALUES))}
        if (plus := every.pop(PLUS.label, None)) and every:
            against[experiment] = (plus, list(every.values()))
    commands = command_table(list({row.label: row for rows in wanted.values() for row in rows}.values()))
    head = f"{TEXT.format(size=' '.join(BUDGET))}{commands}"
    save(docs, halves(docs)[0], "\n\n".join([head, *_gaps(against), *parts]))


def _gaps(against: Mapping[str, tuple[Run, Sequence[Run]]]) -> list[str]:
    """Return vgm2p_plus minus the best of the others, in win rate and in return, on every set; and what follows."""
    if not against:
        return []
    others = ["best of the others", "difference"]
    lines = [["set", "victories", *others, "return", *others]]
    for experiment, (plus, rivals) in against.items():
        lines.append([experiment])
        for measure in ("won", "return"):
            lines[-1] += [f"{mean(own(plus, measure)):.2f}", *shown(plus, rivals, measure, 2)]
    found = [f"{SUMMARY[measure]}\n\n{verdicts(against, measure)}" for measure in SUMMARY]
    return [GAPS, grid(lines), *found]


def _experiment(done: list[Run]) -> list[str]:
    """Return the heading of an experiment, a line about its data, and a table: a row per method, a column per way."""
    ways = ways_of(done)
    clone = next((default_result(run) for run in done if run.key[1] == CLONE.label), None)
    blank = [""] * (len(ways) - 1)
    lines = [["", *(way_text(way) for way in ways), "return", f"minus {CLONE.label}"]]
    lines.append(["random policy", "", *blank, _random(done[0])[2], ""])
    for result in behaviours(done[0]):
        _, won, returned, _ = _line(result)
        lines.append([result.label, won, *blank, returned, ""])
    for run in done:
        default = default_result(run)
        found = {result.acting: result for result in results_of(run)}
        shown = [_line(found[way])[1] + ("<" if way == default.acting else "") if way in found else "" for way in ways]
        gap = bounds(rate_difference(default.won, clone.won), 2) if clone and default.label != clone.label else ""
        lines.append([default.label, *shown, _line(default)[2], gap])
    return [*_title(done[0]), grid(lines)]


def rates(done: list[Run]) -> list[str]:
    """Return the heading of an experiment, a line about its data, and a table: a row per method and way to act."""
    results = [*behaviours(done[0]), *(result for run in done for result in results_of(run))]
    lines = [["", "win rate", "return", "win rate per seed"], _random(done[0]), *map(_line, results)]
    return [*_title(done[0]), grid(lines)]


def _title(run: Run) -> list[str]:
    data, versions = run.manifest["data"], run.manifest["environment_versions"]
    text = (
        f"{data['episodes']} episodes, {data['transitions']} transitions, digest `{data['digest'][:16]}`; "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + f"; {run.manifest['device']}."
    )
    return [f"## {run.key[0]}", text]


def default_result(run: Run) -> MethodResult:
    """Return the result of the run's default way to act."""
    return next(result for result in results_of(run) if result.acting == run.results["act_noise"])


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

    Raises:
        DataError: if the file holds other data than those of the run.
    """
    path = Path(os.path.expandvars(run.manifest["config"]["data"]["source"]["paths"][0]))
    if not path.is_file():
        return []
    columns = read(path)
    if columns.attributes["content_sha256"] != run.manifest["data"]["digest"]:
        raise DataError(
            f"{path}: not the data of the cells of {run.key[0]}; move it away, and `make results-smax` records it again"
        )
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
