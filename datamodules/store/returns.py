"""Columns that are computed from whole episodes: returns-to-go, and the rank of the episode."""

from __future__ import annotations

from typing import Any

import numpy as np

from vgm2p.datamodules.layout.outcomes import known_returns, rounded_returns
from vgm2p.datamodules.layout.schema import INCOMPLETE, TERMINAL, Columns


def returns_to_go(columns: Columns, gamma: float, timeouts_are_terminal: bool = False) -> Any:
    """Return the discounted return from each step on: (n,) float32.

    After a terminal step, the return is 0. If an episode was cut, its rewards after the cut are unknown. They are
    assumed to have the same discounted average as the rewards before the cut. The discounted sum over the h steps up to
    the cut is therefore divided by 1 - gamma^h.

    Args:
        columns: the dataset.
        gamma: discount factor, below 1.
        timeouts_are_terminal: whether a time limit counts as terminal, as it does for the critic with
            `data.timeouts: terminal`. The end of an incomplete episode never counts as terminal.
    """
    return _walk(columns, gamma, timeouts_are_terminal)[0]


def returns_seen(columns: Columns, gamma: float, timeouts_are_terminal: bool = False) -> Any:
    """Return the share of each return-to-go that was recorded: (n,) float32, arguments as in `returns_to_go`.

    It is 1 if the episode went on to a terminal step, and 1 - gamma^h if it was cut after h steps. The return-to-go
    times this share is the discounted sum of the recorded rewards.
    """
    return _walk(columns, gamma, timeouts_are_terminal)[1]


def _walk(columns: Columns, gamma: float, timeouts_are_terminal: bool) -> tuple[Any, Any]:
    """Return the returns-to-go, and the share of each that was recorded."""
    rewards = columns.steps["rewards"].astype(np.float64)
    start, length, end = (columns.episodes[name] for name in ("start", "length", "end"))
    total, share = np.zeros(len(rewards)), np.ones(len(rewards))
    ahead = np.zeros(len(start))
    for h in range(1, int(length.max(initial=0)) + 1):  # h = steps up to the end; all episodes at once
        has = length >= h
        rows = start[has] + length[has] - h
        ahead[has] = rewards[rows] + gamma * ahead[has]
        over = (end[has] != INCOMPLETE) if timeouts_are_terminal else (end[has] == TERMINAL)
        share[rows] = np.where(over, 1.0, 1.0 - gamma**h)
        total[rows] = ahead[has] / share[rows]
    acting = columns.steps["has_action"].astype(bool)
    return total[acting].astype(np.float32), share[acting].astype(np.float32)


def episode_ranks(columns: Columns) -> Any:
    """Return the rank of the episode of each step: (n,) float32, above 0 and at most 1; 0 if its return is not known.

    The rank is the share of all steps that are in episodes with the same return or a lower one, among those with a
    known return. Returns count as equal if they differ by less than a millionth of the largest absolute return.
    """
    length, known = columns.episodes["length"].astype(np.int64), known_returns(columns)
    _, place = np.unique(rounded_returns(columns), return_inverse=True)
    below = np.cumsum(np.bincount(place, weights=length * known)) / length[known].sum()
    return np.repeat(np.where(known, below[place], 0.0), length).astype(np.float32)
