"""Comparisons over several experiments: interquartile mean and probability of improvement (Agarwal et al., 2021).

Both use the normalised mean return of every training seed. Intervals resample the seeds of each experiment apart
(stratified bootstrap). https://arxiv.org/abs/2108.13264
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from vgm2p.errors import ConfigError, nearest
from vgm2p.io.text import grid, markdown
from vgm2p.report.estimates import FIXED_SEED, NO_INTERVAL, RESAMPLES, iqm
from vgm2p.report.paper.scaling import NORMALISED, normalised
from vgm2p.report.runs import Run, final_values, pooled
from vgm2p.report.tables import Cell, bounds

Key = TypeVar("Key")
Scores = Mapping[str, Sequence[float]]  # experiment -> score of each seed
PAIRS = 2


def seed_scores(runs: Sequence[Run]) -> dict[str, dict[str, list[float]]]:
    """Return method -> experiment -> normalised mean return of each seed, where the scale is known.

    All methods of an experiment have one scale: that of its first run that knows it.
    """
    known = normalised(runs).known
    found: dict[str, dict[str, list[float]]] = {}
    for (experiment, method), group in pooled(runs).items():
        values = final_values(group, group[0].results["act_noise"])
        if experiment in known and values:
            low, high = known[experiment]
            scores = [100 * (float(np.mean(each)) - low) / (high - low) for each in values]
            found.setdefault(method, {})[experiment] = scores
    return found


def method_named(runs: Sequence[Run], name: str) -> str:
    """Return the method of which `name` is the name in tables, or the algorithm. Raises ConfigError if not one is."""
    methods = {method: group[0].results["algorithm"] for (_, method), group in pooled(runs).items()}
    found = [name] if name in methods else [method for method, algorithm in methods.items() if algorithm == name]
    if len(found) == 1:
        return found[0]
    reason = "several methods are" if found else "no method here is"
    raise ConfigError(
        f"improvement=true: {reason} '{name}'; name one with versus=<method>{nearest(name, found or methods)}"
    )


def pooled_iqm(scores: Scores) -> Cell:
    """Return the interquartile mean over all seeds of all experiments, with its 95 % interval."""
    return _with_interval(lambda drawn: iqm(np.concatenate(list(drawn.values())).tolist()), scores)


def improvement(first: Scores, second: Scores) -> Cell:
    """Return P(a seed of `first` is better than one of `second`), averaged over shared experiments, with its interval.

    Equal seeds count half. Raises ValueError if there is no shared experiment.
    """
    shared = [experiment for experiment in first if experiment in second]
    if not shared:
        raise ValueError("no shared experiment")
    sides = {(side, key): scores[key] for side, scores in enumerate((first, second)) for key in shared}

    def chance(drawn: Mapping[tuple[int, str], NDArray[np.float64]]) -> float:
        return float(np.mean([_better(drawn[0, key], drawn[1, key]) for key in shared]))

    return _with_interval(chance, sides)


def _better(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    gap = first[:, None] - second[None, :]
    return float((gap > 0).mean() + (gap == 0).mean() / PAIRS)


def _with_interval(
    statistic: Callable[[Mapping[Key, NDArray[np.float64]]], float], scores: Mapping[Key, Sequence[float]]
) -> Cell:
    """Return a statistic with its 95 % interval; NaN for the interval if every experiment has one seed."""
    arrays = {key: np.asarray(values, float) for key, values in scores.items()}
    centre = statistic(arrays)
    if all(len(values) == 1 for values in arrays.values()):
        return (centre, *NO_INTERVAL)
    generator = np.random.default_rng([FIXED_SEED, len(arrays)])
    drawn = [
        statistic({key: values[generator.integers(len(values), size=len(values))] for key, values in arrays.items()})
        for _ in range(RESAMPLES)
    ]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return centre, float(low), float(high)


def aggregate_text(runs: Sequence[Run], with_iqm: bool, base: str | None) -> str:
    """Return the table of the interquartile mean and, with `base`, of the probability of improvement over a method.

    Raises ConfigError if `base` names no method of these runs, or several.
    """
    base = None if base is None else method_named(runs, base)
    scores = seed_scores(runs)
    lost = {run.name for run in runs if run.diverged}
    header = ["method", "experiments", "seeds"]
    header += ["interquartile mean"] if with_iqm else []
    header += [f"P(better than {markdown(base)})"] if base is not None else []
    lines = [header]
    for method, mine in scores.items():
        row = [markdown(method), str(len(mine)), str(sum(map(len, mine.values())))]
        row += [bounds(pooled_iqm(mine), 1) + "x" * (method in lost)] if with_iqm else []
        if base is not None:
            other = scores.get(base, {})
            compared = method != base and any(experiment in other for experiment in mine)
            row.append(
                bounds(improvement(mine, other), 2) + "x" * (not lost.isdisjoint((method, base))) if compared else ""
            )
        lines.append(row)
    note = f"{NORMALISED}; 95 % intervals by bootstrap over the seeds of each experiment"
    note += "; x a seed diverged: its value is no result" if lost else ""
    return f"{grid(lines)}\n\n{note}"
