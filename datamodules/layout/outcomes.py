"""What the episodes of a dataset achieved: returns, and victories and scores if the rewards tell them."""

from __future__ import annotations

import json

import numpy as np
from numpy.typing import NDArray

from vgm2p.datamodules.layout.schema import INCOMPLETE, Columns
from vgm2p.envs.outcomes import Recorded, outcomes

UNIT = 1e-6  # share of the largest |return| below which two returns count as equal


def rounded_returns(columns: Columns) -> NDArray[np.float64]:
    """Return the returns (E,), equal where they differ by rounding alone: they are sums of float32 rewards."""
    returns = columns.episodes["return"].astype(np.float64)
    unit = max(float(np.abs(returns).max(initial=0.0)), 1e-30) * UNIT
    return np.round(returns / unit) * unit


def known_returns(columns: Columns) -> NDArray[np.bool_]:
    """Return which episodes (E,) have a return that is known: all but empty and incomplete ones.

    If there are no others, the incomplete ones count.
    """
    steps = columns.episodes["length"] > 0
    complete = steps & (columns.episodes["end"] != INCOMPLETE)
    return complete if complete.any() else steps


def achieved(columns: Columns) -> dict[str, NDArray[np.float64]]:
    """Return `return`, and `won` and `score` if the rewards tell them (`vgm2p.envs.outcomes`), of K episodes each.

    K: the episodes with a known return (`known_returns`), in order.
    """
    steps, episodes, about = columns.steps, columns.episodes, columns.attributes
    rewards = steps["rewards"][steps["has_action"].astype(bool)].astype(np.float64)
    length = episodes["length"].astype(np.int64)
    recorded = Recorded(about["env_id"], json.loads(about["env_kwargs"]), rewards, length, episodes["return"])
    kept = known_returns(columns)
    return {name: values[kept] for name, values in {"return": episodes["return"], **outcomes(recorded)}.items()}
