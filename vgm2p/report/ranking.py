"""How sure an order of policies is: intervals, chances and rank correlations from one bootstrap for all of them.

A table holds the value of a policy for training seeds, critics and starts, (S, C, E). Critics and starts are drawn
once for all policies, since all were read at the same starts, and critic c of each learnt from the same sample of
episodes. What is luck for all of them cancels in their differences. Training seeds are drawn for each policy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vgm2p.report.estimates import FIXED_SEED, RESAMPLES

Array = NDArray[np.float64]


def resampled_values(tables: Sequence[Array]) -> Array:
    """Return means of bootstrap samples, (policies, RESAMPLES), for tables (S, C, E) that share C and E.

    An axis of length one has no spread: the intervals then hold what the other axes vary.
    """
    _, members, starts = tables[0].shape
    by_member, by_start = _shares(members, 1), _shares(starts, 2)  # (RESAMPLES, C), (RESAMPLES, E)
    means = []
    for number, table in enumerate(tables):
        by_seed = _shares(len(table), 3, number)
        means.append(np.einsum("rs,rc,scr->r", by_seed, by_member, table @ by_start.T))
    return np.stack(means)


def _shares(count: int, *stream: int) -> Array:
    """Return how large a share of a sample each of `count` things has, drawn with replacement: (RESAMPLES, count)."""
    generator = np.random.default_rng([FIXED_SEED, *stream])
    return generator.multinomial(count, np.full(count, 1 / count), size=RESAMPLES) / count


def bounds95(samples: Array) -> tuple[float, float]:
    """Return the 95 % percentile interval of samples (RESAMPLES,)."""
    low, high = np.percentile(samples, [2.5, 97.5])
    return float(low), float(high)


def chance_of_best(samples: Array) -> list[float]:
    """Return how often each policy has the highest mean, of (policies, RESAMPLES); a tie is shared."""
    best = samples == samples.max(0)
    return [float(share) for share in (best / best.sum(0)).mean(1)]


def chance_of_more(first: Array, second: Array) -> float:
    """Return how often samples (RESAMPLES,) of the first are above those of the second; a tie counts a half."""
    return float(((first > second) + 0.5 * (first == second)).mean())


def rank_correlation(first: Sequence[float] | Array, second: Sequence[float] | Array) -> float:
    """Return Spearman's rank correlation, ties at their mean rank; NaN where one side does not vary."""
    a, b = _ranks(np.asarray(first, float)), _ranks(np.asarray(second, float))
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 0 else float("nan")


def _ranks(values: Array) -> Array:
    """Return the rank of every value from 1 on, the mean of their places where values are equal."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return (last - (count - 1) / 2)[place]


def rank_correlations(samples: Array, returns: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of the rank correlation of bootstrap samples (policies, RESAMPLES) with returns."""
    found = np.array([rank_correlation(column, returns) for column in samples.T])
    return bounds95(found[np.isfinite(found)]) if np.isfinite(found).any() else (float("nan"), float("nan"))
