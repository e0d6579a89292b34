"""The task that a dataset was recorded in, as its columns and attributes tell it."""

from __future__ import annotations

import json

from vgm2p.datamodules.layout.schema import Columns
from vgm2p.envs.observation import VIEWS
from vgm2p.errors import ConfigError
from vgm2p.types import Spec


def spec_of(columns: Columns, view: str) -> Spec:
    """Return the task that a dataset was recorded in, seen in `view`. Raises ConfigError if it has no such view."""
    attributes = columns.attributes
    agents = int(attributes["n_agents"])
    if "robot_observation" in columns.steps:
        width = columns.steps["robot_observation"].shape[1]
        if view not in VIEWS:
            raise ConfigError(
                f"data.view={view}: {attributes['name']} stores robot observations; use {' or '.join(VIEWS)}"
            )
        obs_dim, state_dim = width + agents, width
    elif attributes.get("stored_view") == "omiga":
        if view not in VIEWS:
            raise ConfigError(
                f"data.view={view}: {attributes['name']} stores omiga's vectors; use {' or '.join(VIEWS)}"
            )
        obs_dim = columns.steps["observations"].shape[2]
        state_dim = obs_dim - agents  # the robot's observation, recovered from the vectors
    else:
        if view != "native":
            raise ConfigError(f"data.view={view}: {attributes['name']} stores the agents' own vectors; use native")
        obs_dim = columns.steps["observations"].shape[2]
        state_dim = columns.steps["state"].shape[-1] if "state" in columns.steps else None
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
