"""Variants of a method: runs with equal settings are pooled, runs with different settings get different names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vgm2p.config.settings import training_part
from vgm2p.io.text import name as short
from vgm2p.report.runs import Run, pooled
from vgm2p.run.fingerprint import LATER, leaves

MAX_NAMED = 3  # largest number of settings in a name; a variant with more differences is named after its folder
SEEDS = ("seed", "seeds")
ABSENT = object()
THEN = ", then "  # between the versions of a simulator that a run has used


def name_variants(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """Return the runs, renamed if a method has several settings, and a line for each run of which seeds are left out.

    A seed is left out if an earlier run with the same settings has it.
    """
    found: dict[int, Run] = {}
    notices: list[str] = []
    place = {id(run): at for at, run in enumerate(runs)}
    for method in pooled(runs).values():
        variants = group_by_settings(method)
        for name, variant in zip(names(variants), variants, strict=True):
            owners: dict[int, Path] = {}
            for run in variant:
                repeated = {seed: owners[seed] for seed in run.evaluated if seed in owners}
                owners |= {seed: run.folder for seed in run.evaluated if seed not in owners}
                if repeated:
                    seeds, owner = ", ".join(map(str, repeated)), next(iter(repeated.values()))
                    notices.append(f"left out: seeds {seeds} of {run.folder}; {owner} has them with the same settings")
                if len(repeated) < len(run.evaluated):
                    found[place[id(run)]] = replace(without_seeds(run, set(repeated)), name=name)
    return [found[at] for at in sorted(found)], notices


def condition_warnings(runs: Sequence[Run]) -> list[str]:
    """Return a line for each experiment whose runs differ in the simulator, or in settings outside the algorithm."""
    warnings = []
    for experiment in dict.fromkeys(run.key[0] for run in runs):
        found: dict[str, dict[str, str]] = {}  # setting -> value -> the first run that has it
        for run in (run for run in runs if run.key[0] == experiment):
            for key, value in {**settings(run), **simulators(run)}.items():
                if not key.startswith("algo."):
                    found.setdefault(key, {}).setdefault(short(value), run.name)
        parts = [
            f"{key} ({', '.join(f'{value}: {name}' for value, name in owners.items())})"
            for key, owners in sorted(found.items())
            if len(owners) > 1 or any(THEN in value for value in owners)
        ]
        if parts:
            warnings.append(f"different conditions: methods of {experiment} differ in {'; '.join(parts)}")
    return warnings


def simulators(run: Run) -> dict[str, str]:
    """Return the versions of the simulator; of a run that changed them, those of all its sessions."""
    sessions = [*run.manifest.get("earlier_environment_versions", []), run.manifest.get("environment_versions", {})]
    names = dict.fromkeys(name for versions in sessions for name in versions)
    return {f"version of {n}": THEN.join(dict.fromkeys(v[n] for v in sessions if n in v)) for n in names}


def settings(run: Run) -> dict[str, Any]:
    """Return dotted key -> value of the settings that make a variant: all that change training, except seeds."""
    part = {key: value for key, value in training_part(run.manifest["config"]).items() if key not in SEEDS}
    part["data"] = {key: value for key, value in (part["data"] or {}).items() if key not in ("source", "name")}
    return {**LATER, **dict(leaves(part)), "updates": run.results["updates"], "data": run.results["data_digest"][:8]}


def group_by_settings(runs: Sequence[Run]) -> list[list[Run]]:
    """Split runs into groups of equal settings, in order of appearance."""
    groups: list[list[Run]] = []
    for run in runs:
        same = next((group for group in groups if not differing(group[0], run)), None)
        if same is None:
            groups.append([run])
        else:
            same.append(run)
    return groups


def differing(first: Run, second: Run) -> list[str]:
    """Return the settings in which two runs differ; a setting that only one of them has is a difference."""
    one, two = settings(first), settings(second)
    return sorted(key for key in one.keys() | two.keys() if one.get(key, ABSENT) != two.get(key, ABSENT))


def names(variants: Sequence[Sequence[Run]]) -> list[str]:
    """Return a name for each variant: the method and the settings that differ, or its folder if these are too many."""
    first = variants[0][0]
    differences = [differing(first, variant[0]) for variant in variants]
    keys = sorted({key for each in differences if len(each) <= MAX_NAMED for key in each})
    found: list[str] = []
    for variant, each in zip(variants, differences, strict=True):
        run, known = variant[0], settings(variant[0])
        words = [f"{key.removeprefix('algo.')}={known[key]}" for key in keys if key in known]
        name = " ".join([run.name, *(words if len(each) <= MAX_NAMED else [run.folder.name])])
        found.append(name if name not in found else f"{run.name} {run.folder}")
    return found


def without_seeds(run: Run, seeds: set[int]) -> Run:
    """Return a copy of a run without `seeds`."""

    def kept(table: dict[int, list[float]]) -> dict[int, list[float]]:
        return {seed: values for seed, values in table.items() if seed not in seeds}

    final = {measure: {way: kept(table) for way, table in ways.items()} for measure, ways in run.final.items()}
    results = {**run.results, "diverged_seeds": [seed for seed in run.diverged if seed not in seeds]}
    curve, wins = ({update: kept(table) for update, table in each.items()} for each in (run.curve, run.wins))
    return replace(run, results=results, final=final, curve=curve, wins=wins, left_out=run.left_out | seeds)
