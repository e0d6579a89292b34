"""Datasets from arrays, and back: a list of episodes in our layout (`vgm2p.write_dataset`, `vgm2p.read_dataset`)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgm2p.datamodules.layout.episodes import Episodes
from vgm2p.datamodules.layout.reading import read
from vgm2p.datamodules.layout.schema import INCOMPLETE, TERMINAL, TIMEOUT, TRUNCATION
from vgm2p.datamodules.layout.taken import OBSERVED, Taken, taken
from vgm2p.datamodules.layout.writing import write
from vgm2p.errors import DataError
from vgm2p.types import NO_ENVIRONMENT

ROW = re.compile(r"\brow (\d+)")
COLUMNS = {  # name in an episode -> column of the file
    "obs": "observations",
    "robot_observation": "robot_observation",
    "action": "actions",
    "reward": "rewards",
    "legal": "legal_actions",
    "state": "state",
}


@dataclass(frozen=True)
class Dataset(Sequence[dict[str, Any]]):
    """The episodes of a file in our layout: a sequence of dicts, in the form that `vgm2p.write_dataset` takes.

    Attributes:
        path: the file.
        episodes: the episodes.
        attributes: the attributes of the file, such as `env_id`, `episode_limit` and `content_sha256`.
    """

    path: Path
    episodes: list[dict[str, Any]]
    attributes: dict[str, Any]

    def __len__(self) -> int:
        """Return the number of episodes."""
        return len(self.episodes)

    def __getitem__(self, index: Any) -> Any:
        """Return an episode, or a list of episodes for a slice."""
        return self.episodes[index]

    @property
    def task(self) -> dict[str, Any]:
        """The keywords with which `vgm2p.write_dataset` writes these episodes again."""
        about = self.attributes
        kept = {key: about.get(key) for key in ("name", "env_id", "episode_limit", "stored_view")}
        actions = {"n_actions": about["action_dim"]} if about["discrete"] else {}
        limit = {"action_limit": about["action_limit"]} if "action_limit" in about else {}
        return {**kept, "env_kwargs": json.loads(about["env_kwargs"]), **actions, **limit}


def write_episodes(
    path: Path,
    episodes: Sequence[Mapping[str, Any]],
    env_id: str | None,
    env_kwargs: Mapping[str, Any] | None,
    episode_limit: int | None,
    name: str | None,
    n_actions: int | None,
    stored_view: str | None,
    action_limit: float | None,
) -> None:
    """Write a file in our layout; `vgm2p.write_dataset` explains the arguments.

    Raises:
        DataError: if an episode breaks a rule of the layout. Nothing is written.
        StorageError: if the file cannot be written.
    """
    found = taken(path, episodes, n_actions)
    first, length = found[0], np.array([each.length for each in found])
    limit = int(length.max()) if episode_limit is None else episode_limit
    table = Episodes(length, np.array([_end(each, limit) for each in found]), first.finals)
    attributes = {
        "name": name or path.stem,
        "env_id": env_id or f"{NO_ENVIRONMENT}{name or path.stem}",
        "env_kwargs": _json(path, env_kwargs or {}),
        "n_agents": first.n_agents,
        "action_dim": first.action_dim,
        "discrete": int(first.discrete),
        "episode_limit": limit,
        **({} if stored_view is None else {"stored_view": stored_view}),
        **({} if action_limit is None else {"action_limit": action_limit}),
    }
    known = {}
    if all(each.seed is not None for each in found):
        known["seed"] = np.array([each.seed for each in found], np.int64)
    try:
        write(path, table.columns(_steps(found, table), attributes, known))
    except DataError as error:
        raise DataError(ROW.sub(lambda place: _named(int(place[1]), table), error.args[0]), error.command) from None


def _json(path: Path, env_kwargs: Mapping[str, Any]) -> str:
    """Return arguments as JSON; numbers and arrays of numpy become those of Python. Raises DataError."""
    try:
        return json.dumps(env_kwargs, sort_keys=True, default=lambda value: value.tolist())
    except (AttributeError, TypeError, ValueError) as error:
        raise DataError(f"{path}: env_kwargs cannot be stored as JSON; give text, numbers, lists and dicts") from error


def _end(episode: Taken, limit: int) -> int:
    if episode.terminated:
        return TERMINAL
    if episode.truncated:
        return TIMEOUT if episode.length == limit else TRUNCATION
    return INCOMPLETE


def _steps(found: list[Taken], table: Episodes) -> dict[str, NDArray[Any]]:
    """Return the step columns of all episodes."""
    steps: dict[str, NDArray[Any]] = {}
    for name in found[0].per_row:
        steps[COLUMNS[name]] = np.concatenate([each.per_row[name] for each in found])
    for name in ("action", "reward"):
        steps[COLUMNS[name]] = table.spread(np.concatenate([each.per_step[name] for each in found]))
    agents = np.concatenate([each.per_step["agent_rewards"] for each in found])
    if (agents != agents[:, :1]).any():
        steps["agent_rewards"] = table.spread(agents)
    return steps


def _named(row: int, table: Episodes) -> str:
    """Return a row of the file with its place in the episodes."""
    episode = int(np.searchsorted(table.start, row, side="right")) - 1
    return f"step {row - table.start[episode]} of episode {episode} (row {row})"


def read_episodes(path: Path) -> Dataset:
    """Read and verify a file in our layout. Raises as `reading.read`."""
    columns = read(path, verify="full")
    return Dataset(path, list(_episodes(columns.steps, columns.episodes)), columns.attributes)


def _episodes(steps: Mapping[str, NDArray[Any]], table: Mapping[str, NDArray[Any]]) -> Iterator[dict[str, Any]]:
    names = {name: column for name, column in COLUMNS.items() if column in steps}
    for index, (start, rows, length) in enumerate(zip(table["start"], table["rows"], table["length"], strict=True)):
        episode: dict[str, Any] = {}
        for name, column in names.items():
            count = rows if name in (*OBSERVED, "legal", "state") else length
            episode[name] = steps[column][start : start + count]
        if "agent_rewards" in steps:
            episode["reward"] = steps["agent_rewards"][start : start + length]
        if "legal" in episode:
            episode["legal"] = episode["legal"].astype(bool)
        end = table["end"][index]
        episode |= {"terminated": bool(end == TERMINAL), "truncated": bool(end in (TIMEOUT, TRUNCATION))}
        if "seed" in table:
            episode["seed"] = int(table["seed"][index])
        yield episode
