"""The task in which a dataset was recorded, found in its columns and attributes."""

from __future__ import annotations

import json

from vgm2p.datamodules.layout.schema import Columns
from vgm2p.envs.observation import VIEWS
from vgm2p.errors import ConfigError
from vgm2p.types import Spec


def stored_as(columns: Columns) -> str:
    """Return which observations a dataset stores: `robot`, `omiga` or `native`.

    `robot` is one vector of the whole robot. `omiga` and `native` are vectors of the agents. The robot's vector can be
    recovered from `omiga` vectors. `native` vectors are used unchanged.
    """
    if "robot_observation" in columns.steps:
        return "robot"
    return "omiga" if columns.attributes.get("stored_view") == "omiga" else "native"


def spec_of(columns: Columns, view: str) -> Spec:
    """Return the task of a dataset, with observations in `view`. Raises ConfigError if the dataset has no such view."""
    attributes, steps, stored = columns.attributes, columns.steps, stored_as(columns)
    agents, name = int(attributes["n_agents"]), attributes["name"]
    if stored != "native" and view not in VIEWS:
        what = "robot observations" if stored == "robot" else "omiga's vectors"
        raise ConfigError(f"data.view={view}: {name} stores {what}; use {' or '.join(VIEWS)}")
    if stored == "native" and view != "native":
        raise ConfigError(f"data.view={view}: {name} stores the agents' own vectors; use native")
    if stored == "robot":
        state_dim = steps["robot_observation"].shape[1]
        obs_dim = state_dim + agents
    elif stored == "omiga":
        obs_dim = steps["observations"].shape[2]
        state_dim = obs_dim - agents
    else:
        obs_dim = steps["observations"].shape[2]
        state_dim = steps["state"].shape[-1] if "state" in steps else None
    return Spec(
        n_agents=agents,
        obs_dim=obs_dim,
        action_dim=int(attributes["action_dim"]),
        discrete=bool(attributes["discrete"]),
        state_dim=state_dim,
        episode_limit=int(attributes["episode_limit"]),
        view=view,
        env_id=str(attributes["env_id"]),
        env_kwargs=json.loads(attributes["env_kwargs"]),
    )
