"""Finished runs, read from their folders."""

from __future__ import annotations

import glob
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vgm2p.errors import DataError, MissingInput, UserError
from vgm2p.io.text import command, name
from vgm2p.report.estimates import by_start
from vgm2p.report.results import damaged_entry, other_result
from vgm2p.run.folder import RunFolder
from vgm2p.run.marks import changed_since_the_end
from vgm2p.run.ways import Way, in_order, way_of
from vgm2p.types import NO_ENVIRONMENT

Key = tuple[str, str]  # experiment, method
MEASURES = ("won", "return", "score")  # columns of episodes.csv that a report shows if the environment has them
REFERENCES = ("dataset_return", "random_return")  # results.json has a mean and an interval of each
RESULTS = (
    "experiment",
    "algorithm",
    "seeds",
    "updates",
    "act_noise",
    "data_digest",
    *(f"{key}_{part}" for key in REFERENCES for part in ("mean", "ci95")),
)  # keys of results.json that a report needs


@dataclass
class Run:
    """One run with its manifest, results and evaluations.

    Attributes:
        folder: the run folder.
        manifest: content of manifest.json.
        results: content of results.json.
        name: name of its method in tables.
        final: final evaluation: measure -> act_noise (None: the algorithm has no noise) -> seed -> values by start.
        short: ways to act in which some episodes of the final evaluation could not be played.
        curve: all evaluations: update -> seed -> returns.
        wins: the same for victories; empty if the environment has none.
        left_out: seeds that are not counted, because another run has them.
    """

    folder: Path
    manifest: dict[str, Any]
    results: dict[str, Any]
    name: str
    final: dict[str, dict[Way, dict[int, list[float]]]] = field(default_factory=dict)
    curve: dict[int, dict[int, list[float]]] = field(default_factory=dict)
    wins: dict[int, dict[int, list[float]]] = field(default_factory=dict)
    short: tuple[Way, ...] = ()
    left_out: frozenset[int] = frozenset()

    @property
    def diverged(self) -> tuple[int, ...]:
        """Seeds that froze, or whose policies are not usable."""
        return tuple(self.results.get("diverged_seeds", ()))

    @property
    def key(self) -> Key:
        """Experiment and method."""
        return name(self.results["experiment"]), self.name

    @property
    def evaluated(self) -> list[int]:
        """Seeds that have episodes in the final evaluation."""
        return sorted({seed for table in self.final["return"].values() for seed in table})


def expand(patterns: Iterable[str | Path]) -> list[Path]:
    """Return the folders of names and globs, in order, each once. Raises MissingInput for a name without a folder."""
    found: dict[Path, Path] = {}
    for pattern in patterns:
        literal = Path(pattern).exists()  # a folder name may contain brackets, which are no glob then
        globbed = [path for path in sorted(glob.glob(str(pattern), recursive=True)) if Path(path).is_dir()]
        matches = [str(pattern)] if literal else globbed
        if not matches:
            raise MissingInput(f"{pattern}: no such run folder; give folders that `vgm2p fit` printed, or a glob")
        for path in map(Path, matches):
            found.setdefault(path.resolve(), path)
    return list(found.values())


def load_runs(patterns: Sequence[str | Path], load: Callable[[Path], Run] | None = None) -> tuple[list[Run], list[str]]:
    """Return the finished runs, and one line for every folder without a finished run or with a changed log.

    `load` reads a folder (default: `load_run`).

    Raises:
        MissingInput: if a name has no folder.
    """
    runs, notices = [], []
    for path in expand(patterns):
        try:
            run = (load or load_run)(path)
        except UserError as error:
            notices.append(f"left out: {error.line}")
            continue
        runs.append(run)
        changed = changed_since_the_end(RunFolder(path), run.results)
        notices += [f"warning: {log} is not as it was when the run ended; do not trust it" for log in changed]
    return runs, notices


def playable(env_id: object, env: object) -> bool:
    """Whether `evaluate` finds the environment of a policy: its data name one, and it was not trained with `env=none`.

    Args:
        env_id: the task's `env_id`.
        env: the node `env` of the run's configuration.
    """
    absent = isinstance(env, Mapping) and str(env.get("_target_", "")).endswith(".NoSimulator")
    return not absent and not str(env_id).startswith(NO_ENVIRONMENT)


def load_run(path: Path) -> Run:
    """Read one run folder.

    Raises:
        MissingInput: if the run has no evaluation.
        DataError: if a file is damaged, or if the results are not those of the evaluated episodes.
    """
    folder = RunFolder(path)
    manifest, results = folder.read_manifest(), folder.read_results()
    if "return_mean" not in results and results.get("diverged"):
        raise MissingInput(f"{path}: no seed has a result ({results['diverged'][0]}); train it with other settings")
    if "return_mean" not in results and not playable(results.get("environment"), manifest["config"].get("env")):
        raise MissingInput(f"{path}: trained without an environment; judge it:", command("estimate", f"run={path}"))
    if "return_mean" not in results:
        raise MissingInput(f"{path}: trained with evaluate=none; evaluate it:", command("evaluate", f"run={path}"))
    run = Run(path, manifest, results, checked_name(folder, results))
    try:
        _read_episodes(run)
        other = other_result(results, run.final["return"])
    except (ValueError, KeyError) as error:
        raise DataError(
            f"{folder.episodes}: damaged ({type(error).__name__}); restore it, or train it again"
        ) from error
    if folder.episodes in changed_since_the_end(folder, results):
        raise DataError(f"{folder.episodes}: not as it was when the run ended; restore it, or train the run again")
    if other:
        raise DataError(f"{folder.results}: '{other}' is not that of episodes.csv; restore both, or train it again")
    return run


def checked_name(folder: RunFolder, results: Mapping[str, Any], lacking: Sequence[str] = ()) -> str:
    """Return the name of a run's method. Raises DataError if results.json is damaged, or lacks other keys."""
    missing = [key for key in RESULTS if key not in results and key not in lacking]
    if missing:
        raise DataError(f"{folder.path}: another version of vgm2p wrote it ('{missing[0]}' is missing); train it again")
    damaged = damaged_entry(results)
    if damaged:
        raise DataError(f"{folder.results}: '{damaged}' is damaged; restore the file, or train the run again")
    mark = "" if results.get("decentralised", True) else " (centralised)"  # agents use each other's observations
    return f"{name(results['algorithm'])}{mark}"


def check_finished(folder: RunFolder) -> None:
    """Raise DataError if a log of a finished run is not as it was when the run ended."""
    changed = changed_since_the_end(folder, folder.read_results())
    if changed:
        raise DataError(f"{changed[0]}: not as it was when the run ended; restore it, or train again with another out=")


def _read_episodes(run: Run) -> None:
    """Fill `final` and `curve`. Raises DataError if the final evaluation is incomplete, else ValueError or KeyError."""
    last, own = run.results["updates"], run.results["act_noise"]
    log = RunFolder(run.folder).log_episodes()
    rows = [(int(row["update"]), way_of(row["act_noise"]), row) for row in log.rows()]
    final = [(way, row) for update, way, row in rows if update == last]
    counts = Counter(way for way, _ in final)
    expected = {entry["act_noise"]: entry["episodes"] for entry in run.results.get("by_act_noise", [])}
    run.short = tuple(entry["act_noise"] for entry in run.results.get("by_act_noise", []) if entry.get("unplayed"))
    cut = any(counts[way] != count for way, count in expected.items())
    if cut or not final or not all(row.get("return") for _, row in final):
        raise DataError(f"{run.folder}: episodes.csv lacks the final evaluation; restore it, or train it again")
    run.final = by_measure_and_way(final)
    for update in sorted({row[0] for row in rows}):
        played = [row for u, way, row in rows if u == update and (u != last or way == own)]
        run.curve[update] = _per_seed(played)
        if all(row.get("won") for row in played):
            run.wins[update] = _per_seed(played, "won")


def by_measure_and_way(rows: Sequence[tuple[Way, dict[str, str]]]) -> dict[str, dict[Way, dict[int, list[float]]]]:
    """Return measure -> way to act -> seed -> values of rows of episodes.csv, with the measures that all rows have.

    Raises ValueError or KeyError for damaged rows.
    """
    ways = {way: [row for used, row in rows if used == way] for way in dict.fromkeys(way for way, _ in rows)}
    measures = [measure for measure in MEASURES if all(row.get(measure) for _, row in rows)]
    return {measure: {way: _per_seed(shown, measure) for way, shown in ways.items()} for measure in measures}


def _per_seed(rows: Sequence[dict[str, str]], measure: str = "return") -> dict[int, list[float]]:
    return by_start([(int(row["seed"]), int(row["episode"]), _number(row[measure])) for row in rows])


def _number(cell: str) -> float:
    """Return the number of a cell. Raises ValueError if it is not finite."""
    number = float(cell)
    if not math.isfinite(number):
        raise ValueError(f"{cell} is not finite")
    return number


def data_mean(results: dict[str, Any], measure: str) -> float | None:
    """Return the dataset's mean with which `measure` can be compared; None if there is none.

    If the task has a score, recorded returns compare only if they are scores: those of SMACv2 have another scale.
    """
    found: float | None = results.get(f"dataset_{measure}_mean")
    if measure == "return" and "score_mean" in results:
        score = results.get("dataset_score_mean")
        return found if found is not None and score is not None and math.isclose(found, score, rel_tol=1e-5) else None
    return found


def pooled(runs: Sequence[Run]) -> dict[Key, list[Run]]:
    """Group the runs of each experiment and method, in order of appearance. Their seeds count together."""
    groups: dict[Key, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.key, []).append(run)
    return groups


def ways_of(runs: Sequence[Run]) -> list[Way]:
    """Return all ways to act in which the runs were evaluated: noise scales in descending order, then names."""
    found = {way for run in runs for way in run.final["return"]}
    return in_order(found) or [None]


def final_values(runs: Sequence[Run], acting: Way, measure: str = "return") -> list[list[float]]:
    """Return the final values of every seed in one way to act. Without start noise, they are the same in all ways."""
    return [values for run in runs for values in _final(run, acting, measure).values()]


def diverged_seeds(runs: Sequence[Run], acting: Way) -> list[bool]:
    """Return for every seed of `final_values` whether it diverged: its values are no result."""
    return [seed in run.diverged for run in runs for seed in _final(run, acting, "return")]


def _final(run: Run, acting: Way, measure: str) -> dict[int, list[float]]:
    """Return seed -> final values in one way to act, or in the only way."""
    ways = run.final.get(measure, {})
    return ways.get(acting) or ways.get(None) or {}
