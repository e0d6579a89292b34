"""Statistics of returns: bootstrap intervals over seeds and episodes, IQM, Wilson intervals. numpy only."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
FIXED_SEED = 20260408
Z95 = 1.959963984540054

Seeds = Sequence[Sequence[float]]  # returns of every seed's episodes


def iqm(values: Sequence[float]) -> float:
    """Return the interquartile mean: the mean after cutting the outer quarters by weight (rliable's trimmed mean)."""
    ordered = np.sort(np.asarray(values, float))
    cut = len(ordered) / 4
    edges = np.arange(len(ordered) + 1, dtype=float)
    weight = np.clip(np.minimum(edges[1:], len(ordered) - cut) - np.maximum(edges[:-1], cut), 0.0, None)
    return float((ordered * weight).sum() / weight.sum())


def resampled_means(seeds: Seeds, resamples: int = RESAMPLES, stream: int = 0) -> NDArray[np.float64]:
    """Return means of bootstrap samples: seeds drawn with replacement, then episodes within each drawn seed.

    One seed has no spread over seeds to draw from; its interval speaks of episodes only.
    """
    generator = np.random.default_rng([FIXED_SEED, stream])
    table = [np.asarray(values, float) for values in seeds]
    drawn = generator.integers(len(table), size=(resamples, len(table)))
    means = np.empty(drawn.shape)
    for s, values in enumerate(table):
        where = np.nonzero(drawn == s)
        picks = generator.integers(len(values), size=(len(where[0]), len(values)))
        means[where] = values[picks].mean(1)
    return means.mean(1)


def interval(seeds: Seeds) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of the mean over seeds and episodes."""
    low, high = np.percentile(resampled_means(seeds), [2.5, 97.5])
    return float(low), float(high)


def mean(seeds: Seeds) -> float:
    """Return the mean of the seeds' means."""
    return float(np.mean([np.mean(values) for values in seeds]))


def difference(first: Seeds, second: Seeds) -> tuple[float, float, float]:
    """Return mean(first) - mean(second) and its 95 % interval, the two resampled independently."""
    spread = resampled_means(first, stream=1) - resampled_means(second, stream=2)
    low, high = np.percentile(spread, [2.5, 97.5])
    return mean(first) - mean(second), float(low), float(high)


def improvement(first: Seeds, second: Seeds) -> float:
    """Return the probability that a seed's mean of `first` exceeds one of `second`, ties counting half."""
    a = np.array([np.mean(values) for values in first])[:, None]
    b = np.array([np.mean(values) for values in second])[None]
    return float(((a > b) + 0.5 * (a == b)).mean())


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of a rate; (0, 1) without trials."""
    if trials == 0:
        return 0.0, 1.0
    rate, z2 = successes / trials, Z95 * Z95
    centre = (rate + z2 / (2 * trials)) / (1 + z2 / trials)
    half = Z95 / (1 + z2 / trials) * math.sqrt(rate * (1 - rate) / trials + z2 / (4 * trials * trials))
    return max(0.0, centre - half), min(1.0, centre + half)


def per_seed(rows: Sequence[tuple[int, float]]) -> dict[int, list[float]]:
    """Group (seed, value) pairs by seed, seeds ascending."""
    grouped: dict[int, list[float]] = {}
    for seed, value in sorted(rows, key=lambda pair: pair[0]):
        grouped.setdefault(seed, []).append(value)
    return grouped
