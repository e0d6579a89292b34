"""Evaluations that `vgm2p evaluate` has stored in a run folder, for reports.

For each way to act, a run shows its evaluation with the most episodes per seed: its own at the end of training, or a
stored one of the same policy in the same environment. All start at the same initial states: episode i is the same start
everywhere. An evaluation in another environment is shown as an experiment of its own. Nothing is pooled.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vgm2p.errors import DataError, UserError
from vgm2p.io.files import refuse_link
from vgm2p.io.text import command, name
from vgm2p.report.estimates import mean, played
from vgm2p.report.results import CLOSE, is_entry
from vgm2p.report.runs import (
    Run,
    by_measure_and_way,
    checked_name,
    final_values,
    load_run,
    load_runs,
    pooled,
    ways_of,
)
from vgm2p.run.csv_log import CsvLog
from vgm2p.run.folder import RunFolder, read_json
from vgm2p.run.ways import Way, is_way, way_of, way_text

SAME_EVERYWHERE = ("workers", "timeout")  # keys of an environment that change no result
RANDOM = ("random_return_mean", "random_return_ci95")  # results that a run with evaluate=none lacks
OF_TRAINING = ("dataset_", "random_", "score_")  # results that belong to the environment of the training


@dataclass(frozen=True)
class Stored:
    """An evaluation that `vgm2p evaluate` has stored.

    Attributes:
        folder: where it lies.
        environment: name of the environment.
        env: node of the environment, without keys that change no result.
        versions: of the simulator.
        own: the policy's default way to act.
        final: measure -> way to act -> seed -> values.
        short: ways to act in which some episodes could not be played.
        diverged: seeds without a result.
    """

    folder: Path
    environment: str
    env: Mapping[str, Any]
    versions: Mapping[str, str]
    own: Way
    final: dict[str, dict[Way, dict[int, list[float]]]]
    short: tuple[Way, ...]
    diverged: tuple[int, ...]


def environment_part(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of an environment's node that can change a result."""
    return {key: value for key, value in node.items() if key not in SAME_EVERYWHERE}


def load_with_evaluations(patterns: Sequence[str | Path]) -> tuple[list[Run], list[str]]:
    """Return the finished runs with the evaluations that a report shows, and lines about what was taken or left out.

    Raises MissingInput if a name has no folder.
    """
    loaded, lines = load_runs(patterns, _load)
    runs, more = with_evaluations(loaded)
    return runs, lines + more


def _load(path: Path) -> Run:
    """Read a run folder as `load_run`; also one of a run with evaluate=none, if an evaluation is stored in it."""
    folder = RunFolder(path)
    results = folder.read_results()
    if "return_mean" in results or results.get("diverged") or not any(folder.evaluations.glob("*/results.json")):
        return load_run(path)
    results = {**results, "act_noise": None}
    method = checked_name(folder, {**results, "return_mean": 0.0}, RANDOM)
    return Run(path, folder.read_manifest(), results, method)


def with_evaluations(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """Return the runs with the evaluations that a report shows, and a line for each that was taken or left out."""
    found: list[Run] = []
    lines: list[str] = []
    for run in runs:
        elsewhere: dict[str, Run] = {}  # environment with its keys -> the run there
        stored, left_out = _all_stored(run)
        lines += left_out
        for each in stored:
            if each.env == environment_part(run.manifest["config"].get("env") or {}):
                run, line = _taken(run, each)
            else:
                place = json.dumps([each.environment, each.env], sort_keys=True)
                elsewhere[place], line = _taken(elsewhere.get(place) or _empty(run, each), each)
            lines += [line] if line else []
        found += [each for each in (run, *elsewhere.values()) if each.final]
        if not run.final and not elsewhere:
            lines.append(f"left out: {run.folder}: trained with evaluate=none, and no stored evaluation can be shown")
    return found, lines + uneven(found)


def uneven(runs: Sequence[Run]) -> list[str]:
    """Return a line for each experiment whose runs have different numbers of episodes per seed, and for each way to
    act of a method that only some of its seeds have.
    """
    lines = []
    for (experiment, method), group in pooled(runs).items():
        found = {way: len(final_values(group, way)) for way in ways_of(group)}
        most = max(found.values())
        lines += [
            f"different evaluations: act_noise {way_text(way)} of {method} in {experiment} has {few} of {most} seeds"
            for way, few in found.items()
            if few < most
        ]
    for experiment in dict.fromkeys(run.key[0] for run in runs):
        counts: dict[int, str] = {}
        for run in (run for run in runs if run.key[0] == experiment):
            for seeds in run.final["return"].values():
                counts.setdefault(_episodes(seeds), run.name)
        if len(counts) > 1:
            parts = ", ".join(f"{count} ({method})" for count, method in sorted(counts.items()))
            lines.append(f"different evaluations: methods or ways of {experiment} have different episodes: {parts}")
    return lines


def _all_stored(run: Run) -> tuple[list[Stored], list[str]]:
    """Return the stored evaluations of a run, those with the most episodes first, and a line for each unusable one."""
    found, lines = [], []
    for folder in sorted(RunFolder(run.folder).evaluations.glob("*/")):
        try:
            found.append(_read(folder, run))
        except UserError as error:
            lines.append(f"left out: {error.line}")
    return sorted(found, key=lambda each: -max(map(_episodes, each.final["return"].values()))), lines


def _read(folder: Path, run: Run) -> Stored:
    """Read a stored evaluation of the final policy of `run`. Raises a UserError if there is none, or it is damaged."""
    again = command("evaluate", f"run={run.folder}")
    for place in (folder.parent, folder):
        refuse_link(place)
    content = read_json(folder / "results.json", "the evaluation")
    if not {"own", "environment", "env", "environment_versions", "seeds", "log"} <= content.keys():
        raise DataError(f"{folder}: an evaluation of an older version; repeat it:", again)
    log = CsvLog(folder / "episodes.csv")
    entries = content.get("by_act_noise")
    good = (
        is_way(content["own"])
        and isinstance(entries, list)
        and all(map(is_entry, entries))
        and isinstance(content["env"], dict)
        and isinstance(content.get("diverged_seeds", []), list)
    )
    if not good or not isinstance(content["environment_versions"], dict) or log.mark() != content["log"]:
        raise DataError(f"{folder}: an evaluation whose files are damaged; repeat it:", again)
    if content.get("updates") != run.results["updates"] or content["seeds"] != run.results["seeds"]:
        raise DataError(
            f"{folder}: evaluates update {name(content.get('updates'))}, not the last one ({run.results['updates']})"
        )
    try:
        final = by_measure_and_way([(way_of(row["act_noise"]), row) for row in log.rows()])
        for entry in entries or []:
            values = list(final["return"][entry["act_noise"]].values())
            if not math.isclose(mean(values), entry["return_mean"], rel_tol=CLOSE, abs_tol=CLOSE):
                raise ValueError("return_mean")
        if not final.get("return"):
            raise ValueError("no episodes")
    except (KeyError, ValueError) as error:
        raise DataError(f"{folder}: an evaluation whose files are damaged; repeat it:", again) from error
    return Stored(
        folder,
        name(content["environment"]),
        content["env"],
        {str(key): str(value) for key, value in content["environment_versions"].items()},
        content["own"],
        final,
        tuple(entry["act_noise"] for entry in entries or [] if entry.get("unplayed")),
        tuple(seed for seed in content["seeds"] if seed in content.get("diverged_seeds", [])),
    )


def _episodes(seeds: Mapping[int, Sequence[float]]) -> int:
    """Return the number of episodes of each seed."""
    return max((len(played(values)) for values in seeds.values()), default=0)


def _taken(run: Run, stored: Stored) -> tuple[Run, str]:
    """Return `run` with the ways to act in which `stored` has more episodes, and a line about them."""
    before = {way: _episodes(seeds) for way, seeds in run.final.get("return", {}).items()}
    after = {way: _episodes(seeds) for way, seeds in stored.final["return"].items()}
    better = {way: count for way, count in after.items() if count > before.get(way, 0)}
    if not better:
        return run, ""
    final: dict[str, dict[Way, dict[int, list[float]]]] = {}
    for measure in run.final.keys() | stored.final.keys():
        kept = {way: seeds for way, seeds in run.final.get(measure, {}).items() if way not in better}
        final[measure] = kept | {way: seeds for way, seeds in stored.final.get(measure, {}).items() if way in better}
    short = (*(way for way in run.short if way not in better), *(way for way in stored.short if way in better))
    replaced = sorted({before[way] for way in better if way in before})
    line = f"taken: {stored.folder}: {max(better.values())} episodes per seed"
    line += f" in place of {', '.join(map(str, replaced))}" if replaced else ""
    line += f" (act_noise {', '.join(map(str, better))})" if None not in better else ""
    own, now = run.manifest.get("environment_versions", {}), stored.versions
    changed = [f"{key} {own[key]} -> {now[key]}" for key in own.keys() & now.keys() if own[key] != now[key]]
    line += f"; with other versions: {', '.join(sorted(changed))}" if changed else ""
    results = {**run.results, "diverged_seeds": sorted({*run.diverged, *stored.diverged})}
    if not run.final:
        results["act_noise"] = stored.own
        if "score" in final:  # a mark that recorded returns may have another scale (`data_mean`)
            results["score_mean"] = mean(list(next(iter(final["score"].values())).values()))
    return replace(run, results=results, final=final, short=short), line


def _empty(run: Run, stored: Stored) -> Run:
    """Return a run without episodes, of another environment. The dataset's mean does not compare with its returns."""
    results = {key: value for key, value in run.results.items() if not key.startswith(OF_TRAINING)}
    results["experiment"] = f"{run.results['experiment']} in {stored.environment}"
    manifest = {**run.manifest, "environment_versions": dict(stored.versions), "earlier_environment_versions": []}
    manifest["config"] = {**run.manifest["config"], "env": dict(stored.env)}
    return replace(run, results=results, manifest=manifest, final={}, curve={}, wins={}, short=())
