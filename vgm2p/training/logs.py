"""How numbers reach the loggers of a run: ours take a row per seed, others what every Lightning logger takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from lightning.fabric.loggers.logger import Logger

from vgm2p.envs.base import Episode


@runtime_checkable
class RowLogger(Protocol):
    """A logger that takes training diagnostics as rows, one per seed."""

    def log_rows(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows with the keys `update`, `seed` and the names of the diagnostics."""
        ...


def log_diagnostics(
    loggers: Iterable[Logger], update: int, seeds: Sequence[int], values: Mapping[str, Sequence[float]]
) -> None:
    """Give a window of training diagnostics, (S,) per name, to every logger."""
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
    """Give means of an evaluation to every logger but those of rows: episodes.csv has its episodes."""
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
    """Return `<kind>/<name>`, the mean over seeds, and with several seeds `<kind>/<name>/seed<seed>` for each.

    The mean's name holds no seed, so that one chart shows single runs of different seeds.
    """
    found: dict[str, float] = {}
    for name, numbers in values.items():
        found[f"{kind}/{name}"] = sum(numbers) / len(numbers)
        if len(seeds) > 1:
            found |= {f"{kind}/{name}/seed{seed}": number for seed, number in zip(seeds, numbers, strict=True)}
    return found
