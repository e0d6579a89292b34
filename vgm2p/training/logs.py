"""Sends numbers to the loggers of a run: rows per seed to a `RowLogger`, means to other Lightning loggers.

The name of a metric has no seed, so that runs with different seeds share a chart.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

from lightning.fabric.loggers.logger import Logger

from vgm2p.envs.base import Episode
from vgm2p.report.statistics import statistics

EVERY = 500  # number of updates between logs, for `log_every: auto`
EARLY = (10, 20, 50, 100, 200)  # updates with a further log, for `log_every: auto`


@runtime_checkable
class RowLogger(Protocol):
    """A logger that takes training diagnostics as rows, one per seed."""

    def log_rows(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows whose keys are `update`, `seed` and the names of the diagnostics."""
        ...


@runtime_checkable
class SeedLogger(Protocol):
    """A logger that keeps the numbers of each seed apart, under the same names as the means over seeds."""

    def log_seed(self, seed: int, metrics: Mapping[str, float], step: int) -> None:
        """Write the numbers of one of several seeds."""
        ...


def log_times(log_every: Literal["auto"] | int) -> tuple[int, tuple[int, ...]]:
    """Return the number of updates between logs, and the updates with a further log, of the key `log_every`."""
    return (EVERY, EARLY) if log_every == "auto" else (log_every, ())


def log_diagnostics(
    loggers: Iterable[Logger], update: int, seeds: Sequence[int], values: Mapping[str, Sequence[float]]
) -> None:
    """Send the mean diagnostics of a log window, S numbers per name, to every logger."""
    by_seed = {seed: {name: numbers[s] for name, numbers in values.items()} for s, seed in enumerate(seeds)}
    rows = [{"update": update, "seed": seed} | numbers for seed, numbers in by_seed.items()]
    tags = {seed: {f"train/{name}": number for name, number in numbers.items()} for seed, numbers in by_seed.items()}
    means = {f"train/{name}": mean for name, mean in means_of_sound(values).items()}
    for logger in loggers:
        if isinstance(logger, RowLogger):
            logger.log_rows(rows)
        else:
            _send(logger, update, means, tags)


def means_of_sound(values: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return the mean over seeds of S numbers per name, without seeds that have a number that is not finite.

    If every seed has one, such as a number that is defined nowhere, all seeds count.
    """
    by_seed = list(zip(*values.values(), strict=True))
    sound = [seed for seed in by_seed if all(map(math.isfinite, seed))] or by_seed
    return {name: sum(numbers) / len(numbers) for name, numbers in zip(values, zip(*sound, strict=True), strict=True)}


def log_evaluation(loggers: Iterable[Logger], update: int, episodes: Sequence[Episode]) -> None:
    """Send the statistics of an evaluation to every logger that is no RowLogger (episodes.csv has the episodes)."""
    others = [logger for logger in loggers if not isinstance(logger, RowLogger)]
    if not others:
        return
    seeds = sorted({episode.seed for episode in episodes})
    tags = {seed: evaluation_tags([episode for episode in episodes if episode.seed == seed]) for seed in seeds}
    for logger in others:
        _send(logger, update, evaluation_tags(episodes), tags)


def evaluation_tags(episodes: Sequence[Episode]) -> dict[str, float]:
    """Return the metrics of an evaluation: means, and the ends of 95 % intervals of the return and the win rate.

    `evaluation/return`, `evaluation/return_low`, `evaluation/return_high`, `evaluation/length`; with victories
    `evaluation/win_rate`, `..._low`, `..._high`; also the environment's own numbers, such as `evaluation/score`. A
    single episode has no interval of its return.
    """
    found = statistics(episodes)
    numbers = {"return": found["return_mean"], "length": found["length_mean"]}
    numbers |= {name: found[f"{name}_mean"] for name in episodes[0].extra}
    intervals = {"return": found["return_ci95"]}
    if found["win_rate"] is not None:
        numbers["win_rate"], intervals["win_rate"] = found["win_rate"], found["win_rate_ci95"]
    for name, (low, high) in intervals.items():
        numbers |= {f"{name}_low": low, f"{name}_high": high}
    return {f"evaluation/{name}": number for name, number in numbers.items() if not math.isnan(number)}


def _send(logger: Logger, update: int, means: Mapping[str, float], tags: Mapping[int, Mapping[str, float]]) -> None:
    logger.log_metrics(dict(means), step=update)
    if isinstance(logger, SeedLogger) and len(tags) > 1:
        for seed, numbers in tags.items():
            logger.log_seed(seed, numbers, update)
