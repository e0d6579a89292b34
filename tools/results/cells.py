"""Cells of the result tables. A cell is five seeds of one experiment, with the settings of one row."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tools.results.archive import FILES, pack, portable, unpack
from vgm2p.config.build import algorithm_class, is_discrete
from vgm2p.config.compose import composed
from vgm2p.config.draws import draws_of
from vgm2p.config.settings import training_part
from vgm2p.report.runs import Run, load_run
from vgm2p.run.fingerprint import Change, differences
from vgm2p.run.folder import RunFolder

Plan = Mapping[str, Sequence[tuple[Sequence[str], Sequence["Row"]]]]  # part -> experiments and their rows, in order
# Keys that came after the first cells of robots had run. They train robots as before, so those cells still count.
AS_BEFORE = {
    Change("algo.acting.sample", None, False),
    Change("algo.predict", None, "v"),
    Change("algo.times.law", "uniform", None),
}
# Keys that came later still, or have another default than at first, and change no training.
LATER = {Change("algo.acting.beta", None, 0.0), Change("data.ess", 0.1, None)}
BUDGET = ("updates", "eval_episodes", "eval_acting")  # settings that do not change training, but must be equal, too


@dataclass(frozen=True)
class Row:
    """A line of a table.

    Attributes:
        label: name in tables and folders.
        overrides: words for `vgm2p fit` that distinguish the row.
        minutes: CPU minutes of one cell (five seeds, one core).
        size: words that all rows of a table have: network and budget.
    """

    label: str
    overrides: tuple[str, ...]
    minutes: int
    size: tuple[str, ...]


def resized(size: Sequence[str], numbers: Mapping[str, int]) -> tuple[str, ...]:
    """Return the words of a size with other numbers. Raises KeyError for a key that it does not set."""
    words = dict(word.split("=", 1) for word in size)
    if unknown := numbers.keys() - words.keys():
        raise KeyError(*unknown)
    return tuple(f"{key}={value}" for key, value in {**words, **numbers}.items())


def command_table(rows: Sequence[Row]) -> str:
    """Return the lines of a Markdown table: label and overrides of every row."""
    return "\n".join(f"| `{row.label}` | `{' '.join(row.overrides)}` |" for row in rows)


@cache
def settings(experiment: str, row: Row) -> dict[str, Any]:
    """Return the configuration of a cell."""
    return as_run(composed("fit", [f"experiment={experiment}", *row.overrides, *row.size]))


def as_run(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a composed configuration as the manifest of its run has it."""
    return {**config, "data": draws_of(config["data"], algorithm_class(config["algo"]), is_discrete(config["env"]))}


def finished(runs: Path, experiment: str, row: Row) -> bool:
    """Return whether the folder of a cell below `runs` has results that were computed with the present settings.

    Folders do not count: a packed cell has words in their place.
    """
    cell = f"{experiment}/{row.label}"
    folder = RunFolder(runs / cell)
    if not all((folder.path / name).is_file() for name in FILES):  # `fit` makes up what a kill after the results lost
        return False
    was, now = (portable(config, cell) for config in (folder.read_manifest()["config"], settings(experiment, row)))
    changed = set(differences(training_part(was), training_part(now))) - LATER
    if "mujoco" in str(now["env"]["_target_"]):
        changed -= AS_BEFORE
    return not changed and all(was[key] == now[key] for key in BUDGET)


def restore(plan: Plan, parts: Sequence[str], runs: Path, archive: Path) -> None:
    """Unpack the cells that `archive` has and `runs` lacks.

    A packed cell that was run with other settings leaves no folder: `fit` would refuse to go on in it.
    """
    for experiment, row in cells(plan, parts):
        cell = f"{experiment}/{row.label}"
        if unpack(archive, cell, runs) and not finished(runs, experiment, row):
            shutil.rmtree(runs / cell)


def keep_finished(plan: Plan, parts: Sequence[str], runs: Path, archive: Path) -> None:
    """Pack every finished cell into `archive`."""
    for experiment, row in cells(plan, parts):
        if finished(runs, experiment, row):
            pack(runs, f"{experiment}/{row.label}", archive)


def load_finished(runs: Path, experiment: str, rows: Sequence[Row]) -> list[Run]:
    """Return the finished runs of an experiment, in the order of `rows`."""
    return [load_run(runs / experiment / row.label) for row in rows if finished(runs, experiment, row)]


def command(experiment: str, row: Row, runs: Path) -> list[str]:
    """Return the command that runs a cell."""
    words = [f"experiment={experiment}", *row.overrides, *row.size, f"label={row.label}", "compare=[]"]
    return [sys.executable, "-m", "vgm2p", "fit", *words, f"out={runs / experiment / row.label}"]


def run(experiment: str, row: Row, runs: Path, archive: Path) -> int:
    """Run a cell and pack it; its output goes to `<label>.log` beside its folder. Return 0, or 1 if it failed."""
    print(f"{experiment}: {row.label}", flush=True)
    log = runs / experiment / f"{row.label}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a+") as file:
        before = file.tell()
        code = subprocess.run(command(experiment, row, runs), check=False, stdout=file, stderr=file).returncode
        file.seek(before)
        lines = file.read().splitlines() or [f"no output in {log}"]
    if code == 0 and finished(runs, experiment, row):
        pack(runs, f"{experiment}/{row.label}", archive)
        return 0
    print(f"{experiment}: {row.label}: exit {code}: {lines[-1]}", flush=True)
    return 1


def cells(plan: Plan, parts: Sequence[str]) -> Iterator[tuple[str, Row]]:
    """Yield (experiment, row) of every cell once, in the order of running. Parts may have cells in common."""
    blocks = (block for part in parts for block in plan[part])
    pairs = (pair for experiments, rows in blocks for pair in itertools.product(rows, experiments))
    yield from dict.fromkeys((experiment, row) for row, experiment in pairs)


def print_plan(plan: Plan, parts: Sequence[str], runs: Path, jobs: int) -> None:
    """Print how many cells are missing, and their time: the rows' minutes, times 0.7 for Hopper (short episodes)."""
    every = list(cells(plan, parts))
    missing = [(experiment, row) for experiment, row in every if not finished(runs, experiment, row)]
    cost = sum(row.minutes * (0.7 if "hopper" in experiment else 1.0) for experiment, row in missing)
    print(
        f"{len(every)} cells of 5 seeds ({', '.join(parts)}), {len(missing)} to run, {jobs} at a time: "
        f"about {cost / jobs:.0f} minutes",
        flush=True,
    )


def run_missing(plan: Plan, parts: Sequence[str], runs: Path, archive: Path, jobs: int) -> int:
    """Run the unfinished cells, `jobs` at a time, and pack each; return 0, or 1 if one did not finish."""
    missing = [(experiment, row) for experiment, row in cells(plan, parts) if not finished(runs, experiment, row)]
    with ThreadPoolExecutor(jobs) as pool:
        running = [pool.submit(run, experiment, row, runs, archive) for experiment, row in missing]
    return max((future.result() for future in running), default=0)
