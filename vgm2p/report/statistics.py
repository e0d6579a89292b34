"""Statistics of evaluation episodes for results.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from vgm2p.envs.base import Episode, Unplayed
from vgm2p.report.estimates import by_start, interval, rate_interval
from vgm2p.report.metrics import Deviation, InterquartileMean, Mean, Total, WinRate


def statistics(episodes: Sequence[Episode], unplayed: Sequence[Unplayed] = ()) -> dict[str, Any]:
    """Return the statistics of finished episodes: means, standard deviations, intervals, values per seed.

    Means are over seeds. `return_std` is over all episodes, `return_std_per_seed` over the episodes of each seed.
    `unplayed` are the episodes that could not be played; their numbers are listed.
    """
    seeds = sorted({episode.seed for episode in episodes})
    position = torch.tensor([seeds.index(episode.seed) for episode in episodes])
    returns = torch.tensor([episode.return_ for episode in episodes], dtype=torch.float64)
    lengths = torch.tensor([episode.length for episode in episodes], dtype=torch.float64)
    faults = torch.tensor([episode.faults for episode in episodes])
    means = _compute(Mean(len(seeds)), position, returns)
    middles = _compute(InterquartileMean(len(seeds)), position, returns)
    deviations = _compute(Deviation(len(seeds)), position, returns)
    grouped = by_start([(episode.seed, episode.episode, episode.return_) for episode in episodes])
    further = {
        name: torch.tensor([episode.extra[name] for episode in episodes], dtype=torch.float64)
        for name in episodes[0].extra
    }
    extra = {f"{name}_mean": average(_compute(Mean(len(seeds)), position, each)) for name, each in further.items()}
    return {
        "episodes": len(episodes),
        "return_mean": average(means),
        "return_std": float(returns.std(correction=0)),
        "return_std_per_seed": deviations,
        "return_iqm": average(middles),
        "return_ci95": interval(list(grouped.values())),
        "per_seed": means,
        "evaluated_seeds": seeds,
        "length_mean": average(_compute(Mean(len(seeds)), position, lengths)),
        **_win_rate(episodes, position, len(seeds)),
        **extra,
        "unplayed": [failure.episode for failure in unplayed],
        "faults": int(sum(_compute(Total(len(seeds)), position, faults))),
    }


def by_measure(episodes: Sequence[Episode]) -> dict[str, list[float]]:
    """Return measure -> values of the episodes: the return, the victory and the score, if the environment has them."""
    found = {"return": [episode.return_ for episode in episodes]}
    if all(episode.won is not None for episode in episodes):
        found["won"] = [float(bool(episode.won)) for episode in episodes]
    if all("score" in episode.extra for episode in episodes):
        found["score"] = [episode.extra["score"] for episode in episodes]
    return found


def references(name: str, values: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Return the entries of results.json for a policy to compare with: mean and 95 % interval of every measure."""
    found: dict[str, Any] = {}
    for measure, numbers in values.items():
        around = rate_interval if measure == "won" else interval
        found[f"{name}_{measure}_mean"] = average(numbers)
        found[f"{name}_{measure}_ci95"] = list(around([numbers]))
    return found


def _win_rate(episodes: Sequence[Episode], position: torch.Tensor, seeds: int) -> dict[str, Any]:
    """Return the mean win rate with its interval, and each seed's with Wilson's. Null if the task has no victory."""
    if any(episode.won is None for episode in episodes):
        return {"win_rate": None}
    metric = WinRate(seeds)
    rates = _compute(metric, position, torch.tensor([float(bool(episode.won)) for episode in episodes]))
    outcomes = by_start([(each.seed, each.episode, float(bool(each.won))) for each in episodes])
    return {
        "win_rate": average(rates),
        "win_rate_ci95": list(rate_interval(list(outcomes.values()))),
        "win_rate_per_seed": rates,
        "win_rate_per_seed_ci95": [list(bounds) for bounds in metric.intervals()],
    }


def average(values: Sequence[float]) -> float:
    """Return the mean of values."""
    return sum(values) / len(values)


def _compute(metric: Any, position: torch.Tensor, values: torch.Tensor) -> list[float]:
    metric.update(position, values)
    computed: list[float] = metric.compute().reshape(-1).tolist()  # torchmetrics drops the axis of a single seed
    return computed
