"""What a trained policy has achieved, read from the files of a run or of an evaluation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vgm2p.errors import DataError
from vgm2p.execution.trained import TrainedPolicy, load
from vgm2p.io.text import decimals
from vgm2p.run.folder import RunFolder, read_json
from vgm2p.run.ways import Way

Interval = tuple[float, float]


@dataclass(frozen=True)
class Returns:
    """The episodes of a trained policy in one way to act.

    Attributes:
        act_noise: the way to act: a scale of the start noise, a name such as `mode`, or None if the algorithm has only
            one.
        mean: mean return over seeds.
        interval: 95 % bootstrap interval of the mean; NaN if there is one episode only.
        per_seed: mean return of each seed.
        episodes: number of episodes of all seeds.
        length: mean number of steps.
        win_rate: share of the episodes that were won; None if the task has no victory.
        win_rate_interval: its 95 % interval, or None.
    """

    act_noise: Way
    mean: float
    interval: Interval
    per_seed: tuple[float, ...]
    episodes: int
    length: float
    win_rate: float | None
    win_rate_interval: Interval | None

    def __str__(self) -> str:
        """Return the mean and its interval as one line."""
        digits = decimals([value for value in (self.mean, *self.interval) if not math.isnan(value)])
        low, high = (f"{bound:.{digits}f}" for bound in self.interval)
        bounds = "" if math.isnan(self.interval[0]) else f" [{low}, {high}]"
        way = "" if self.act_noise is None else f"act_noise {self.act_noise}: "
        won = "" if self.win_rate is None else f", {self.win_rate:.0%} won"
        return f"{way}return {self.mean:.{digits}f}{bounds}{won}"


@dataclass(frozen=True)
class Evaluated:
    """A finished evaluation (`vgm2p.evaluate`).

    Attributes:
        folder: its folder, with `results.json` and `episodes.csv`.
        checkpoint: the file of the policy.
        updates: number of updates of the policy.
        returns: one entry per way to act.
    """

    folder: Path
    checkpoint: Path
    updates: int
    returns: tuple[Returns, ...]

    def __str__(self) -> str:
        """Return one line per way to act."""
        return "\n".join(map(str, self.returns))


@dataclass(frozen=True)
class Fitted:
    """A finished run (`vgm2p.fit`). Functions that take a run folder also take this object.

    Attributes:
        folder: the run folder.
        experiment: name of the experiment.
        algorithm: name of the algorithm, as in tables.
        env_id: the task.
        seeds: training seeds.
        diverged: seeds without a result.
        updates: number of updates.
        act_noise: the algorithm's default way to act.
        returns: the final evaluation, one entry per way to act; empty without an environment.
        dataset_return: mean return of the dataset's episodes.
        random_return: mean return of a random policy; None without an environment.
    """

    folder: Path
    experiment: str
    algorithm: str
    env_id: str
    seeds: tuple[int, ...]
    diverged: tuple[int, ...]
    updates: int
    act_noise: Way
    returns: tuple[Returns, ...]
    dataset_return: float
    random_return: float | None

    @property
    def own(self) -> Returns | None:
        """The returns in the algorithm's default way to act; None without an environment."""
        return next((each for each in self.returns if each.act_noise == self.act_noise), None)

    def policy(self, device: str = "cpu") -> TrainedPolicy:
        """Load the trained policy. Raises as `vgm2p.load`."""
        return load(self.folder, device)

    def __fspath__(self) -> str:
        """Return the run folder."""
        return str(self.folder)

    def __str__(self) -> str:
        """Return one line for the run, and one per way to act."""
        seeds = f"seeds {', '.join(map(str, self.seeds))}"
        return "\n".join(
            [f"{self.algorithm} on {self.env_id}, {self.updates} updates, {seeds}", *map(str, self.returns)]
        )


def fitted(folder: Path) -> Fitted:
    """Read a finished run. Raises MissingInput if it has no results yet, and DataError if they are damaged."""
    with _named(folder) as found:
        return Fitted(
            folder=folder.resolve(),
            experiment=found["experiment"],
            algorithm=found["algorithm"],
            env_id=found["environment"],
            seeds=tuple(found["seeds"]),
            diverged=tuple(found.get("diverged_seeds", ())),
            updates=found["updates"],
            act_noise=found.get("act_noise"),
            returns=tuple(map(_returns, found.get("by_act_noise", []))),
            dataset_return=found["dataset_return_mean"],
            random_return=found.get("random_return_mean"),
        )


def evaluated(folder: Path) -> Evaluated:
    """Read an evaluation. Raises as `fitted`."""
    with _named(folder) as found:
        returns = tuple(map(_returns, found["by_act_noise"]))
        return Evaluated(folder.resolve(), Path(found["checkpoint"]).resolve(), found["updates"], returns)


@contextmanager
def _named(folder: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the content of results.json. If the block does not find what it needs there, raise DataError."""
    file = RunFolder(folder).results
    content = read_json(file, "the run")
    try:
        yield content
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{file}: damaged ({type(error).__name__}: {error}); restore it, or train it again") from error


def _returns(entry: Mapping[str, Any]) -> Returns:
    won = entry.get("win_rate_ci95")
    return Returns(
        act_noise=entry["act_noise"],
        mean=float(entry["return_mean"]),
        interval=_interval(entry["return_ci95"]),
        per_seed=tuple(entry["per_seed"]),
        episodes=entry["episodes"],
        length=entry["length_mean"],
        win_rate=entry.get("win_rate"),
        win_rate_interval=None if won is None else _interval(won),
    )


def _interval(bounds: Sequence[float | None]) -> Interval:
    """Return two bounds. JSON has null in place of NaN."""
    low, high = (float("nan") if bound is None else float(bound) for bound in bounds)
    return low, high
