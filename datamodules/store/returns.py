"""What is derived from whole episodes, once: returns from every step on, and how good the episode was."""

from __future__ import annotations

from typing import Any

import numpy as np

from vgm2p.datamodules.layout.schema import INCOMPLETE, TERMINAL, Columns


def returns_to_go(columns: Columns, gamma: float, timeouts_are_terminal: bool = False) -> Any:
    """Return, per acting row, the discounted return from that step on: (n,) float32.

    After a terminal step nothing follows. Where an episode was cut, the future beyond is taken to pay at the rate of
    what was seen: the discounted sum over h steps is divided by 1 - gamma^h. `timeouts_are_terminal`: time
    limits count as terminal, as `data.timeouts: terminal` has it for the critic; the end of an incomplete episode never
    does.
    """
    rewards = columns.steps["rewards"].astype(np.float64)
    start, length, end = (columns.episodes[name] for name in ("start", "length", "end"))
    total = np.zeros(len(rewards))
    ahead = np.zeros(len(start))
    for h in range(1, int(length.max(initial=0)) + 1):  # h steps to the end, all episodes at once
        has = length >= h
        rows = start[has] + length[has] - h
        ahead[has] = rewards[rows] + gamma * ahead[has]
        over = (end[has] != INCOMPLETE) if timeouts_are_terminal else (end[has] == TERMINAL)
        seen = np.where(over, 1.0, 1.0 - gamma**h)
        total[rows] = ahead[has] / seen
    return total[columns.steps["has_action"].astype(bool)].astype(np.float32)


def episode_ranks(columns: Columns) -> Any:
    """Return, per acting row, the share of acting rows in episodes that return as much or less: (n,) float32.

    Returns that differ by less than a millionth of the largest count as equal.
    """
    length = columns.episodes["length"].astype(np.int64)
    returns = columns.episodes["return"]
    unit = max(np.abs(returns).max(), 1e-30) * 1e-6  # equal returns differ by rounding, as sums of float32 rewards
    _, place = np.unique(np.round(returns / unit), return_inverse=True)
    below = np.cumsum(np.bincount(place, weights=length)) / length.sum()
    return np.repeat(below[place], length).astype(np.float32)
