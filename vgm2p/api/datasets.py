"""`vgm2p.write_dataset` and `vgm2p.read_dataset`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from vgm2p.datamodules.layout.arrays import Dataset, read_episodes, write_episodes
from vgm2p.errors import ConfigError, StorageError
from vgm2p.io.faults import one_line

ENDINGS = (".h5", ".hdf5")


def write_dataset(
    path: str | os.PathLike[str],
    episodes: Iterable[Mapping[str, Any]],
    *,
    env_id: str | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
    episode_limit: int | None = None,
    name: str | None = None,
    n_actions: int | None = None,
    stored_view: str | None = None,
    action_limit: float | None = None,
    overwrite: bool = False,
) -> Path:
    """Write episodes of arrays to a file that `fit` reads, and return its path.

    All rules are checked before anything is written; an error names the episode, the step and the agent. The file gets
    its name when it is complete.

    An episode of T steps of N agents is a dict with these names. Numbers may have any type of numpy; they are stored
    as float32.

    - `obs`: (T, N, O), what each agent sees before each step; or (T + 1, N, O), with the observation after the last
      step. The final observation lets the critic learn from episodes that were cut (`data.timeouts=bootstrap`).
    - `action`: (T, N, A) numbers in [-1, 1], or (T, N) whole numbers from 0, the indices of discrete actions.
    - `reward`: (T,) of the team, or (T, N) of each agent. Training uses their mean over the agents.
    - `terminated`: whether the task ended the episode: True or False, or (T,) of them. Default: False.
    - `truncated`: whether it was cut, for example by a step limit. Default: False. An episode that is neither was not
      recorded to its end.
    - `legal`: (T, N, number of actions) bool, for discrete actions only; T + 1 rows if `obs` has so many.
    - `state`: optional global state, (T, D) or (T, N, D); T + 1 rows if `obs` has so many.
    - `seed`: optional seed of the environment, a whole number.
    - `robot_observation`: (T, D) or (T + 1, D), in place of `obs`, for the robots of MA-MuJoCo: one vector of the whole
      robot, of which `data.view` makes the agents' observations.

    Args:
        path: the new file; it ends with `.h5` or `.hdf5`.
        episodes: the episodes.
        env_id: the task, as an environment names it (`Spec.env_id`); None: the data name no environment.
        env_kwargs: arguments with which the environment was made (`Spec.env_kwargs`).
        episode_limit: number of steps after which the task truncates an episode; None: the longest episode.
        name: name of the dataset; None: that of the file.
        n_actions: number of discrete actions, if no episode has `legal`: all actions are legal then.
        stored_view: `omiga` if `obs` holds OMIGA's vectors.
        action_limit: largest absolute number in `action`, if it exceeds 1. Training clips actions to [-1, 1].
        overwrite: whether an existing file is replaced.

    Raises:
        vgm2p.UserError: if an episode breaks a rule, or the file cannot be written.
    """
    if isinstance(episodes, Mapping) or not isinstance(episodes, Iterable):
        raise ConfigError(f"{path}: episodes is a {type(episodes).__name__}; give a list with a dict for each episode")
    given = list(episodes)
    with one_line():
        file = _file(path)
        if file.suffix not in ENDINGS:
            raise ConfigError(f"{file}: the name of a dataset ends with .h5 or .hdf5; choose another name")
        if file.exists() and not overwrite:
            raise StorageError(f"{file} exists; choose another path, or give overwrite=True")
        write_episodes(file, given, env_id, env_kwargs, episode_limit, name, n_actions, stored_view, action_limit)
        return file


def read_dataset(path: str | os.PathLike[str]) -> Dataset:
    """Read a file in our layout, verify its content, and return its episodes.

    The result is a sequence of dicts with the names and shapes of `write_dataset`; `reward` is (T, N) if the agents'
    rewards differ. `write_dataset(other, dataset, **dataset.task)` writes the same episodes.

    Raises:
        vgm2p.UserError: if the file does not exist, is damaged, or has another layout.
    """
    with one_line():
        return read_episodes(_file(path))


def _file(path: object) -> Path:
    """Return a path; `~` is the home folder. Raises ConfigError for other types."""
    if not isinstance(path, str | Path | os.PathLike):
        raise ConfigError(f"path is a {type(path).__name__}; give the name of a file, as text or Path")
    return Path(path).expanduser()
