"""Which runs are the same method: pooled where only seeds differ, named apart where settings do, no seed twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vgm2p.report.runs import Run, pooled
from vgm2p.run.fingerprint import BEFORE, BEFORE_TRAINER, leaves, training_part

SHOWN = 3  # settings that a name may hold
SEEDS = ("seed", "seeds")
NETWORK = ("algo.width", "algo.depth")  # settings of algorithms that a comparison of them keeps equal


def told_apart(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """Return the runs with names that tell settings apart, and what was left out: seeds that an earlier run has."""
    found: dict[int, Run] = {}
    notices: list[str] = []
    place = {id(run): at for at, run in enumerate(runs)}
    for group in pooled(runs).values():
        variants = alike(group)
        for name, variant in zip(names(variants), variants, strict=True):
            owners: dict[int, Path] = {}
            for run in variant:
                repeated = {seed: owners[seed] for seed in run.evaluated if seed in owners}
                owners |= {seed: run.folder for seed in run.evaluated if seed not in owners}
                if repeated:
                    seeds, owner = ", ".join(map(str, repeated)), next(iter(repeated.values()))
                    notices.append(f"left out: seeds {seeds} of {run.folder}; {owner} has them with the same settings")
                if len(repeated) < len(run.evaluated):
                    found[place[id(run)]] = replace(without(run, set(repeated)), name=name)
    return [found[at] for at in sorted(found)], notices


def unlike(runs: Sequence[Run]) -> list[str]:
    """Return a line per experiment whose methods were not trained, or do not act, under the same conditions."""
    notices = []
    for experiment in dict.fromkeys(run.key[0] for run in runs):
        found: dict[str, dict[str, str]] = {}  # setting -> value -> who has it first
        for run in (run for run in runs if run.key[0] == experiment):
            for key, value in settings(run).items():
                if not key.startswith("algo.") or key in NETWORK:
                    found.setdefault(key, {}).setdefault(str(value), run.name)
        parts = [
            f"{key} ({', '.join(f'{value}: {name}' for value, name in owners.items())})"
            for key, owners in sorted(found.items())
            if len(owners) > 1
        ]
        if parts:
            notices.append(f"not alike: methods of {experiment} differ in {'; '.join(parts)}")
    return notices


def settings(run: Run) -> dict[str, Any]:
    """Return what, seeds aside, tells a run from others of its experiment and algorithm."""
    part = {key: value for key, value in training_part(run.manifest["config"]).items() if key not in SEEDS}
    part["algo"], part["trainer"] = BEFORE | (part.get("algo") or {}), BEFORE_TRAINER | part["trainer"]
    part["data"] = {key: value for key, value in part["data"].items() if key not in ("source", "name")}
    return {**dict(leaves(part)), "updates": run.results["updates"], "data": run.results["data_digest"][:8]}


def alike(group: Sequence[Run]) -> list[list[Run]]:
    """Split runs by their settings, in order of appearance."""
    variants: list[list[Run]] = []
    for run in group:
        same = next((variant for variant in variants if not differing(variant[0], run)), None)
        if same is None:
            variants.append([run])
        else:
            same.append(run)
    return variants


def differing(first: Run, second: Run) -> list[str]:
    """Return the settings in which two runs differ; one that an older run did not know counts as the same."""
    one, two = settings(first), settings(second)
    return sorted(key for key in one.keys() & two.keys() if one[key] != two[key])


def names(variants: Sequence[Sequence[Run]]) -> list[str]:
    """Return a name for each: the algorithm, with the settings that differ, or its folder where these are many."""
    first = variants[0][0]
    away = [differing(first, variant[0]) for variant in variants]
    keys = sorted({key for each in away if len(each) <= SHOWN for key in each})
    found: list[str] = []
    for variant, each in zip(variants, away, strict=True):
        run, known = variant[0], settings(variant[0])
        words = [f"{key.removeprefix('algo.')}={known[key]}" for key in keys if key in known]
        short = " ".join([run.name, *(words if len(each) <= SHOWN else [run.folder.name])])
        found.append(short if short not in found else f"{run.name} {run.folder}")
    return found


def without(run: Run, seeds: set[int]) -> Run:
    """Return a run that lacks the episodes of `seeds`."""

    def kept(table: dict[int, list[float]]) -> dict[int, list[float]]:
        return {seed: values for seed, values in table.items() if seed not in seeds}

    final = {measure: {way: kept(table) for way, table in ways.items()} for measure, ways in run.final.items()}
    return replace(run, final=final, curve={update: kept(table) for update, table in run.curve.items()})
