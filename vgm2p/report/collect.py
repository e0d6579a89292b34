"""Finished runs, read from their folders alone."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vgm2p.errors import MissingInput, UserError
from vgm2p.io.artifacts import SHARED, Acting, RunFolder
from vgm2p.report.stats import per_seed

Key = tuple[str, str]  # experiment, algorithm


@dataclass
class Run:
    """One run: its manifest, results, and the returns of its final evaluation.

    Attributes:
        folder: where it lies.
        manifest: manifest.json.
        results: results.json.
        final: act_noise (None: the algorithm has none) -> returns per seed.
        curve: update -> returns per seed of the evaluations during training, and of the last one.
    """

    folder: Path
    manifest: dict[str, Any]
    results: dict[str, Any]
    final: dict[Acting, dict[int, list[float]]] = field(default_factory=dict)
    curve: dict[int, dict[int, list[float]]] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        """Experiment and algorithm."""
        return self.results["experiment"], self.results["algorithm"]


def expand(patterns: Iterable[str | Path]) -> list[Path]:
    """Return folders for names and globs, in order, without repeats. Raises MissingInput for a name without match."""
    found: dict[Path, None] = {}
    for pattern in patterns:
        matches = sorted(glob.glob(str(pattern), recursive=True))
        if not matches:
            raise MissingInput(f"{pattern}: no such run folder; give folders that `vgm2p fit` printed, or a glob")
        found |= dict.fromkeys(Path(match) for match in matches)
    return list(found)


def load_runs(patterns: Sequence[str | Path]) -> tuple[list[Run], list[str]]:
    """Return finished runs, and one line for every folder that is none.

    Raises:
        MissingInput: if a name matches nothing.
    """
    runs, notices = [], []
    for path in expand(patterns):
        try:
            runs.append(load_run(path))
        except UserError as error:
            notices.append(f"left out: {error.line}")
    return runs, notices


def load_run(path: Path) -> Run:
    """Read one run folder. Raises MissingInput or DataError."""
    folder = RunFolder(path)
    run = Run(path, folder.read_manifest(), folder.read_results())
    if "return_mean" not in run.results:
        raise MissingInput(f"{path}: trained with evaluate=none; evaluate it with `vgm2p evaluate run={path}`")
    last, own = run.results["updates"], run.results["act_noise"]
    rows = [
        (int(row["update"]), _acting(row["act_noise"]), int(row["seed"]), float(row["return"]))
        for row in folder.log_episodes().rows()
    ]
    for noise in {row[1] for row in rows if row[0] == last}:
        run.final[noise] = per_seed([row[2:] for row in rows if row[0] == last and row[1] == noise])
    for update in sorted({row[0] for row in rows}):
        shown = [row[2:] for row in rows if row[0] == update and (update != last or row[1] == own)]
        run.curve[update] = per_seed(shown)
    return run


def _acting(cell: str) -> Acting:
    return (cell if cell == SHARED else float(cell)) if cell else None


def pooled(runs: Sequence[Run]) -> dict[Key, list[Run]]:
    """Group runs of one experiment and algorithm, in order of appearance: their seeds are pooled."""
    groups: dict[Key, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.key, []).append(run)
    return groups


def ways_of(runs: Sequence[Run]) -> list[Acting]:
    """Return the ways to act that some run was evaluated in: scales from loud to quiet, then shared."""
    found = {way for run in runs for way in run.final if way is not None}
    scales = sorted((way for way in found if isinstance(way, float)), reverse=True)
    return [*scales, *(way for way in found if way == SHARED)] or [None]


def final_returns(runs: Sequence[Run], acting: Acting) -> list[list[float]]:
    """Return the final returns of every seed acting so; algorithms without start noise answer for every way."""
    tables = [run.final.get(acting) or run.final.get(None) or {} for run in runs]
    return [values for returns in tables for values in returns.values()]
