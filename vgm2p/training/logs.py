"""Sends numbers to the loggers of a run: rows per seed to a `RowLogger`, flat metrics to other Lightning loggers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from lightning.fabric.loggers.logger import Logger

from vgm2p.envs.base import Episode


@runtime_checkable
class RowLogger(Protocol):
    """A logger that takes training diagnostics as rows, one per seed."""

    def log_rows(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows whose keys are `update`, `seed` and the names of the diagnostics."""
        ...


def log_diagnostics(
    loggers: Iterable[Logger], update: int, seeds: Sequence[int], values: Mapping[str, Sequence[float]]
) -> None:
    """Send the mean diagnostics of a log window, S numbers per name, to every logger."""
    rows = [
        {"update": update, "seed": seed} | {name: numbers[s] for name, numbers in values.items()}
        for s, seed in enumerate(seeds)
    ]
    for logger in loggers:
        if isinstance(logger, RowLogger):
            logger.log_rows(rows)
        else:
            logger.log_metrics(flat("train", seeds, values), step=update)


def log_evaluation(loggers: Iterable[Logger], update: int, episodes: Sequence[Episode]) -> None:
    """Send the means of an evaluation to every logger that is no RowLogger (episodes.csv has the episodes)."""
    seeds = sorted({episode.seed for episode in episodes})
    measured: dict[str, list[list[float]]] = {}  # name -> values of each seed's episodes
    for position, seed in enumerate(seeds):
        for episode in (episode for episode in episodes if episode.seed == seed):
            numbers = {"return": episode.return_, "length": episode.length, **episode.extra}
            if episode.won is not None:
                numbers["won"] = float(episode.won)
            for name, number in numbers.items():
                measured.setdefault(name, [[] for _ in seeds])[position].append(number)
    values = {name: [sum(found) / len(found) for found in by_seed] for name, by_seed in measured.items()}
    for logger in loggers:
        if not isinstance(logger, RowLogger):
            logger.log_metrics(flat("evaluation", seeds, values), step=update)


def flat(kind: str, seeds: Sequence[int], values: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return `<kind>/<name>`, the mean over seeds. With several seeds, also return `<kind>/<name>/seed<seed>` for each.

    The name of the mean has no seed. So one chart can show single runs with different seeds.
    """
    found: dict[str, float] = {}
    for name, numbers in values.items():
        found[f"{kind}/{name}"] = sum(numbers) / len(numbers)
        if len(seeds) > 1:
            found |= {f"{kind}/{name}/seed{seed}": number for seed, number in zip(seeds, numbers, strict=True)}
    return found
