"""Victories and scores of recorded battles, read from their rewards. A dataset stores neither.

In SMACv2, the scale of the recorded rewards is unknown (docs/smac.md). It is estimated: damage and deaths are whole
points, so many rewards are multiples of 20 / M, where M are the points of a victory over one possible team. The others
contain regeneration or healing. Zerg units regenerate in nearly every step, so their rewards may not tell the scale.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgm2p.envs.smac_maps import DEATH, MAPS, RACES, SCALE, TOUGHNESS, VICTORY, worth_v2

Array = NDArray[np.float64]
ROUNDING = 1e-3  # points; largest distance from a whole number: rewards are float32, at most some hundred points
NEIGHBOURS = 32  # episodes to each side that are taken as recorded by the same process
LEAST = 0.25  # smallest share of positive rewards that must be whole points
CLEAR = 0.95  # a smaller candidate is taken if it explains this share of what the best candidate explains
FINER = 0.6  # smallest share of what a finer unit explains; below 1, because medivacs heal half points
AGREED = 0.8  # smallest share of what each episode alone explains with its own best candidate


@dataclass(frozen=True)
class Recorded:
    """Recorded episodes of one task.

    Attributes:
        env_id: the task (`Spec.env_id`).
        env_kwargs: its settings that differ from the usual ones.
        rewards: (T,) team rewards of all steps, episode after episode.
        length: (E,) number of steps of each episode, at least 1.
        returns: (E,) sums of rewards.
    """

    env_id: str
    env_kwargs: Mapping[str, Any]
    rewards: Array
    length: NDArray[np.int64]
    returns: Array

    @property
    def last(self) -> Array:
        """Rewards of the last steps (E,)."""
        return self.rewards[np.cumsum(self.length) - 1]


def outcomes(recorded: Recorded) -> dict[str, Array]:
    """Return `won` (E,), 0 or 1, and `score` (E,), as far as they can be read from the rewards of this task."""
    suite, _, task = recorded.env_id.partition("/")
    if suite == "smax":  # a step removes a share of the enemies' health, a victory adds 1 [JaxMARL, smax_env.py]
        return {"won": (recorded.last >= 1.0).astype(float)}
    if suite == "smac_v1" and task in MAPS:
        worth = recorded_worths(recorded, [VICTORY + MAPS[task].enemies * DEATH + MAPS[task].toughness])
        return {"score": recorded.returns} | ({} if worth is None else {"won": _won(recorded, worth)})
    if suite == "smac_v2":
        return _smac_v2(recorded, task)
    return {}


def _won(recorded: Recorded, worth: Array) -> Array:
    """Return whether the last reward contains the points of a victory; `worth` (E,) points are a reward of SCALE."""
    return (recorded.last * worth / SCALE >= VICTORY - 0.5).astype(float)


def _smac_v2(recorded: Recorded, task: str) -> dict[str, Array]:
    named = re.fullmatch(r"([a-z]+)_(\d+)_vs_(\d+)", task)
    if named is None or named[1] not in RACES:
        return {}
    race, n, m = named[1], int(named[2]), int(named[3])
    units = recorded.env_kwargs.get("units", RACES[race].units)
    exceptions = recorded.env_kwargs.get("exceptions", RACES[race].exceptions)
    expected = worth_v2(units, exceptions, n, m)
    worth = recorded_worths(recorded, sorted({expected, *team_worths(race, m)}))
    if worth is None:
        return {}
    return {"won": _won(recorded, worth), "score": recorded.returns * worth / expected}


def team_worths(race: str, enemies: int) -> list[float]:
    """Return the points of a victory over every possible team of a race of SMACv2."""
    kinds = [TOUGHNESS[name] + DEATH for name in RACES[race].units]
    return sorted({VICTORY + sum(team) for team in itertools.combinations_with_replacement(kinds, enemies)})


def recorded_worths(recorded: Recorded, candidates: list[float]) -> Array | None:
    """Return for each episode the points that are a reward of SCALE (E,); None if the rewards do not tell them.

    Of the candidates, the smallest is taken that makes nearly as many rewards of the episode and its neighbours whole
    points as the best one. (If M fits, each multiple of M fits.) The estimate fails in three cases: too few rewards
    become whole points; a multiple of the candidate, whose unit is finer, fits far better; single episodes fit other
    candidates far better, because neighbours were recorded with different scales.

    Args:
        recorded: the episodes.
        candidates: possible values, in ascending order.
    """
    paid = recorded.rewards > 0
    if not paid.any():
        return None
    episode = np.repeat(np.arange(len(recorded.length)), recorded.length)[paid]
    values, count = recorded.rewards[paid] / SCALE, len(recorded.length)

    def whole(worth: float | Array) -> NDArray[np.bool_]:
        points = values * worth
        return np.abs(points - np.round(points)) < ROUNDING

    alone = np.stack([np.bincount(episode, whole(worth), count).astype(float) for worth in candidates])  # (M, E)
    hits = np.stack([_nearby(each) for each in alone])
    best = (hits >= CLEAR * hits.max(0)).argmax(0)
    chosen = np.asarray(candidates)[best]
    own = chosen[episode]
    explained, finer = whole(own).mean(), max(whole(own * multiple).mean() for multiple in (2, 3, 5))
    agreed = alone[best, np.arange(count)].sum() >= AGREED * alone.max(0).sum()
    return chosen if explained >= LEAST and explained >= FINER * finer and agreed else None


def _nearby(counts: Array) -> Array:
    """Return the sums (E,) of `counts` over each episode and its neighbours."""
    total = np.concatenate([[0.0], np.cumsum(counts)])
    place = np.arange(len(counts))
    sums: Array = total[np.minimum(place + NEIGHBOURS + 1, len(counts))] - total[np.maximum(place - NEIGHBOURS, 0)]
    return sums
