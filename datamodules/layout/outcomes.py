"""What the episodes of a dataset achieved: returns, and victories and scores if the rewards tell them."""

from __future__ import annotations

import json

import numpy as np
from numpy.typing import NDArray

from vgm2p.datamodules.layout.schema import Columns
from vgm2p.envs.outcomes import Recorded, outcomes


def achieved(columns: Columns) -> dict[str, NDArray[np.float64]]:
    """Return `return` (E,), and `won` (E,) and `score` (E,) if the rewards tell them (`vgm2p.envs.outcomes`)."""
    steps, episodes, about = columns.steps, columns.episodes, columns.attributes
    rewards = steps["rewards"][steps["has_action"].astype(bool)].astype(np.float64)
    length = episodes["length"].astype(np.int64)
    recorded = Recorded(about["env_id"], json.loads(about["env_kwargs"]), rewards, length, episodes["return"])
    return {"return": episodes["return"], **outcomes(recorded)}
