"""Text tables of runs: mean and 95 % interval per way to act, values per seed, differences."""

from __future__ import annotations

import csv
import io
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vgm2p.config.settings import PAPER
from vgm2p.errors import ConfigError, nearest
from vgm2p.io.text import csv_cell, decimals, grid, markdown
from vgm2p.report.estimates import NO_INTERVAL, difference, interval, mean, played, rate_difference, rate_interval
from vgm2p.report.runs import MEASURES, Run, data_mean, diverged_seeds, final_values, pooled, ways_of
from vgm2p.run.ways import Way, way_text, way_title

RANDOM, DATASET = "random policy", "dataset mean"
CSV = "experiment method act_noise measure mean ci95_low ci95_high seeds episodes diverged"  # columns of table.csv
SELECTED = (
    "Both sides act in their best way, selected on these same episodes; the intervals do not include this selection."
)
Cell = tuple[float, float, float]  # mean, and the ends of its 95 % interval; NaN where there is none


@dataclass(frozen=True)
class Entry:
    """A line of a table.

    Attributes:
        experiment: name of the experiment.
        method: name of the method, `random policy` or `dataset mean`.
        cells: way to act -> mean with interval; None if the method was not evaluated in this way.
        counts: way to act -> (number of seeds, number of episodes); empty for the random policy and the dataset.
        own: the method's default way to act.
        per_seed: mean of every seed in the default way.
        short: ways to act in which some episodes could not be played.
        diverged: for every entry of `per_seed`, whether this seed diverged, so that its value is no result.
        lost: number of seeds that diverged.
        above_data: ways to act whose interval lies above the dataset's mean.
    """

    experiment: str
    method: str
    cells: dict[Way, Cell | None]
    counts: dict[Way, tuple[int, int]]
    own: Way = None
    per_seed: tuple[float, ...] = ()
    above_data: tuple[Way, ...] = ()
    short: tuple[Way, ...] = ()
    diverged: tuple[bool, ...] = ()
    lost: int = 0


def entries_of(runs: Sequence[Run], measure: str = "return") -> list[Entry]:
    """Return one entry per experiment and method that has `measure`.

    Entries of the random policy and of the dataset come before the first method whose runs know them. If the runs of
    one experiment were trained on several datasets, each dataset has an entry.
    """
    entries: list[Entry] = []
    known: dict[str, list[str]] = {}  # experiment -> what has an entry: the random policy, digests of datasets
    ways = ways_of(runs)
    for (experiment, method), group in pooled(runs).items():
        results = group[0].results
        floor = data_mean(results, measure)
        digest, have = results["data_digest"], known.setdefault(experiment, [])
        data = DATASET if floor is not None else f"{DATASET} (recorder's scale)"
        data += f" {digest[:8]}" if any(each != RANDOM for each in have) else ""
        for mark, name, key in ((RANDOM, RANDOM, f"random_{measure}"), (digest, data, f"dataset_{measure}")):
            reference = _reference(experiment, name, results, key, ways) if mark not in have else []
            entries += reference
            have += [mark for _ in reference]
        values = {way: final_values(group, way, measure) for way in (*ways, results["act_noise"])}
        own = values[results["act_noise"]]
        if not any(values.values()):
            continue
        cells = {way: _cell(values[way], measure) for way in ways}
        counts = {way: (len(values[way]), sum(len(played(one)) for one in values[way])) for way in ways}
        entries.append(
            Entry(
                experiment,
                method,
                cells,
                counts,
                results["act_noise"],
                tuple(mean([one]) for one in own),
                tuple(way for way, cell in cells.items() if counts[way][1] > 1 and _above(cell, floor)),
                tuple(way for way in ways if any(way in run.short for run in group)),
                tuple(diverged_seeds(group, results["act_noise"])),
                sum(len(run.diverged) for run in group),
            )
        )
    return entries


def _above(cell: Cell | None, floor: float | None) -> bool:
    return cell is not None and floor is not None and cell[1] > floor


def _cell(values: list[list[float]], measure: str) -> Cell | None:
    around = rate_interval if measure == "won" else interval
    return (mean(values), *around(values)) if values else None


def _reference(experiment: str, method: str, results: dict[str, Any], key: str, ways: Sequence[Way]) -> list[Entry]:
    """Return the entry of the random policy or of the dataset, if it is known. It is the same in every way to act."""
    if f"{key}_mean" not in results:
        return []
    low, high = (NO_INTERVAL[0] if bound is None else bound for bound in results[f"{key}_ci95"])
    return [Entry(experiment, method, dict.fromkeys(ways, (results[f"{key}_mean"], low, high)), {})]


def table(runs: Sequence[Run]) -> str:
    """Return Markdown tables per experiment: victories if the environment has them, returns, scores if they differ.

    `*` marks an interval above the dataset's mean, `!` missing episodes, `<` the run's default way to act, `x` seeds
    that diverged.
    """
    blocks = []
    for experiment in dict.fromkeys(run.key[0] for run in runs):
        here = [run for run in runs if run.key[0] == experiment]
        grids = [_grid(here, measure) for measure in MEASURES if measure != "score" or not scores_are_returns(here)]
        blocks.append("\n\n".join([markdown(experiment), *filter(None, grids)]))
    return "\n\n".join([*blocks, notes(runs)])


def notes(runs: Sequence[Run]) -> str:
    """Return what the numbers and marks of the tables mean."""
    text = (
        "mean [95 % interval, bootstrap over seeds, then episodes; too short with few seeds; one episode has none]; "
        "* interval above the dataset's mean; "
        "< the run's own way to act (used in `per seed`)"
    )
    if any(run.short for run in runs):
        text += "; ! some episodes could not be played and are missing"
    if any(run.diverged for run in runs):
        text += "; x a seed diverged (a loss or an action was not finite): its value is no result"
    protocols = dict.fromkeys(run.manifest["config"].get("protocol", PAPER) for run in runs)
    text += "".join(f"; ({name}) trained with protocol={name}" for name in map(markdown, protocols) if name != PAPER)
    return text


def scores_are_returns(runs: Sequence[Run]) -> bool:
    """Return whether the scores of all methods and references are their returns, as on the maps of SMACv1."""
    return entries_of(runs, "score") == entries_of(runs, "return")


def _grid(runs: Sequence[Run], measure: str) -> str:
    entries, ways = entries_of(runs, measure), ways_of(runs)
    header = [measure, *(way_title(way) for way in ways), "per seed"]
    digits = decimals(bound for entry in entries for cell in entry.cells.values() for bound in cell or ())
    return grid([header, *(_line(entry, ways, digits) for entry in entries)]) if entries else ""


def _line(entry: Entry, ways: Sequence[Way], digits: int) -> list[str]:
    shown = []
    for way in ways:
        cell = entry.cells[way]
        mark = ("*" if way in entry.above_data else "") + ("!" if way in entry.short else "")
        mark += "x" if entry.lost else ""
        mark += "<" if entry.per_seed and way == entry.own else ""
        shown.append("" if cell is None else f"{bounds(cell, digits)}{mark}")
    if len(set(shown)) == 1:  # equal in all ways to act: show the value once
        shown = [shown[0], *[""] * (len(ways) - 1)]
    flags = entry.diverged or (False,) * len(entry.per_seed)
    values = [f"{v:.{digits}f}{'x' if bad else ''}" for v, bad in zip(entry.per_seed, flags, strict=True)]
    return [markdown(entry.method), *shown, " ".join(values)]


def bounds(cell: Cell, digits: int) -> str:
    """Return `mean [low, high]` with `digits` decimals, without negative zeros; the mean alone without an interval."""
    centre, low, high = (f"{value:z.{digits}f}" for value in cell)
    return centre if math.isnan(cell[1]) else f"{centre} [{low}, {high}]"


@dataclass(frozen=True)
class Difference:
    """How much more a method has than another one, with a 95 % interval.

    Attributes:
        experiment: name of the experiment.
        first: the method, and how it acts.
        second: the other method, and how it acts.
        measure: what is compared.
        cell: mean of the first minus mean of the second, and the ends of the interval.
        digits: number of decimals that suits the difference.
        lost: whether a seed of a side diverged, so that its values are no result.
    """

    experiment: str
    first: tuple[str, Way]
    second: tuple[str, Way]
    measure: str
    cell: Cell
    digits: int
    lost: bool = False

    @property
    def title(self) -> str:
        """Both methods with their ways to act."""
        return " - ".join(f"{method}{'' if way is None else f' ({way_text(way)})'}" for method, way in self.sides)

    @property
    def sides(self) -> tuple[tuple[str, Way], tuple[str, Way]]:
        """First and second method."""
        return self.first, self.second


def differences_of(runs: Sequence[Run], algorithm: str, best: bool = False) -> list[Difference]:
    """Return the differences `algorithm` - other method within each experiment.

    Each method acts in its default way. With `best`, both sides act in the way that has the highest mean return on
    these episodes. Scores are left out where they are the returns. Raises ConfigError if there is no run of
    `algorithm`.
    """
    groups = pooled(runs)
    bases = named(groups, algorithm)
    if not bases:
        known = dict.fromkeys(name for _, name in groups)
        raise ConfigError(f"versus='{algorithm}': no such method among these runs{nearest(algorithm, known)}")
    return [
        found
        for base, other in itertools.product(bases, groups)
        if base[0] == other[0] and base != other and not (other in bases and other < base)
        for found in differences_between(groups[base], groups[other], best)
    ]


def named(groups: Mapping[tuple[str, str], Sequence[Run]], algorithm: str | None) -> list[tuple[str, str]]:
    """Return the keys (experiment, method) of the groups that `algorithm` names, by method or by algorithm."""
    return [key for key, group in groups.items() if algorithm in (key[1], group[0].results["algorithm"])]


def differences_between(first: Sequence[Run], second: Sequence[Run], best: bool = False) -> list[Difference]:
    """Return the differences between two methods of one experiment, one per measure, as in `differences_of`."""
    sides = [(part, best_way(part) if best else part[0].results["act_noise"]) for part in (first, second)]
    values = {measure: [final_values(part, way, measure) for part, way in sides] for measure in MEASURES}
    one, two = ((part[0].name, way) for part, way in sides)
    lost = any(run.diverged for part in (first, second) for run in part)
    found = []
    for measure, both in values.items():
        if all(both) and (measure != "score" or both != values["return"]):
            cell = (rate_difference if measure == "won" else difference)(*both)
            digits = decimals(cell)
            found.append(Difference(first[0].key[0], one, two, measure, cell, digits, lost))
    return found


def versus(runs: Sequence[Run], algorithm: str, best: bool = False) -> str:
    """Return a table of the differences `algorithm` - other method (`differences_of`), with 95 % intervals."""
    found = [
        [
            markdown(each.experiment),
            markdown(each.title),
            each.measure,
            bounds(each.cell, each.digits) + "x" * each.lost,
        ]
        for each in differences_of(runs, algorithm, best)
    ]
    text = grid([["experiment", "difference", "of", "mean [95 % interval]"], *found])
    return f"{text}\n\n{SELECTED}" if best else text


def best_way(runs: Sequence[Run]) -> Way:
    """Return the way to act with the highest mean return in the final evaluation, of those that the most seeds have."""
    found = {way: final_values(runs, way) for way in ways_of(runs)}
    most = max(map(len, found.values()))
    return max((way for way, values in found.items() if len(values) == most), key=lambda way: mean(found[way]))


def as_csv(runs: Sequence[Run]) -> str:
    """Return the tables as CSV, one line per method, way to act and measure.

    A method with one way to act has one line, and so have the random policy and the dataset: the cell of `act_noise` is
    empty. A single episode has no interval: these cells are empty. The random policy and the dataset have no number of
    seeds, of episodes and of diverged seeds.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV.split())
    for measure in MEASURES:
        for entry in entries_of(runs, measure):
            several = entry.own is not None
            for way, cell in list(entry.cells.items())[: None if several else 1]:
                if cell is not None:
                    title = [csv_cell(entry.experiment), csv_cell(entry.method), way if several else None, measure]
                    numbers = ["" if math.isnan(value) else f"{value:.6g}" for value in cell]
                    counts = [*entry.counts[way], entry.lost] if entry.counts else ["", "", ""]
                    writer.writerow([*title, *numbers, *counts])
    return text.getvalue()
