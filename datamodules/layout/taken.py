"""Episodes as dicts of arrays: checks names, types and shapes, and brings the arrays into the types of our layout.

The rules for the numbers are those of `rules.validate`, which the writer applies to every dataset. Only what a cast
would hide is checked here: indices and masks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgm2p.datamodules.layout.numbers import first_place
from vgm2p.errors import DataError, nearest

LARGEST = int(np.iinfo(np.int16).max)  # of an index
LARGEST_SEED = int(np.iinfo(np.int64).max)
OBSERVED = ("obs", "robot_observation")  # an episode has one of them
FLAGS = ("terminated", "truncated")
NAMES = (*OBSERVED, "action", "reward", *FLAGS, "legal", "state", "seed")
ELSEWHERE = {  # names of other programs -> ours
    **dict.fromkeys(("observation", "observations"), "obs"),
    **dict.fromkeys(("done", "dones", "terminal", "terminals"), "terminated"),
    **dict.fromkeys(("timeout", "timeouts"), "truncated"),
    **dict.fromkeys(("mask", "action_mask", "legal_actions", "avail_actions"), "legal"),
}


@dataclass(frozen=True)
class Taken:
    """One episode of T steps with arrays in the types of our layout.

    Attributes:
        length: T.
        finals: whether `per_row` has a row for the final observation.
        n_agents: N.
        action_dim: A, the width of an action, or the number of discrete actions.
        discrete: whether actions are indices.
        per_row: name -> array with T rows, or T + 1 with the final observation.
        per_step: name -> array with T rows: action, reward (T,) and agent_rewards (T, N).
        terminated: whether the task ended the episode.
        truncated: whether it was cut.
        seed: seed of the environment, or None.
    """

    length: int
    finals: bool
    n_agents: int
    action_dim: int
    discrete: bool
    per_row: dict[str, NDArray[Any]]
    per_step: dict[str, NDArray[Any]]
    terminated: bool
    truncated: bool
    seed: int | None


def taken(path: Path, episodes: Sequence[Mapping[str, Any]], n_actions: int | None) -> list[Taken]:
    """Return the episodes in the types of our layout. Raises DataError, which names the first wrong one."""
    if not episodes:
        raise DataError(f"{path}: there is no episode; give at least one")
    if n_actions is not None and (isinstance(n_actions, bool) or not 1 <= as_count(n_actions) <= LARGEST):
        raise DataError(f"{path}: n_actions is {n_actions!r}; give a whole number from 1 to {LARGEST}")
    found = [_Reader(path, number, episode, n_actions).taken() for number, episode in enumerate(episodes)]
    first = _form(found[0])
    for number, each in enumerate(found):
        form = _form(each)
        for name in first | form:
            mine, other = form.get(name, "missing"), first.get(name, "missing")
            if mine != other:
                raise DataError(
                    f"{path}: episode {number}: {name} is {mine}, but {other} in episode 0; make them equal"
                )
    return found


def _as_array(value: Any) -> NDArray[Any]:
    """Return a value as an array; an empty one of objects if that is not possible, as for rows of unequal length."""
    try:
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError):  # the last: a tensor of torch that needs gradients
        return np.empty(0, object)


def as_count(value: object) -> int:
    """Return a whole number of Python or numpy; 0 for everything else."""
    return int(value) if isinstance(value, int | np.integer) else 0


def _form(episode: Taken) -> dict[str, object]:
    """Return what must be equal in all episodes: name for messages -> value."""
    return {
        "the kind of actions": "discrete" if episode.discrete else "continuous",
        "N": episode.n_agents,
        "A": episode.action_dim,
        "the final observation": "given" if episode.finals else "missing",
        **{f"the shape of {name}": array.shape[1:] for name, array in episode.per_row.items()},
        "seed": "missing" if episode.seed is None else "given",
    }


class _Reader:
    """Reads one episode. Its errors name the file, the episode, and, where there is one, the step and the agent."""

    def __init__(self, path: Path, number: int, episode: Mapping[str, Any], n_actions: int | None) -> None:
        self.path, self.number, self.episode, self.n_actions = path, number, episode, n_actions
        self.arrays: dict[str, NDArray[Any]] = {}

    def wrong(self, what: str) -> DataError:
        return DataError(f"{self.path}: episode {self.number}: {what}")

    def taken(self) -> Taken:
        if not isinstance(self.episode, Mapping):
            raise self.wrong(f"this is a {type(self.episode).__name__}; give a dict of arrays")
        for name in self.episode:
            if name not in NAMES:
                ours = ELSEWHERE.get(name)
                hint = f"; it is called '{ours}' here" if ours else nearest(str(name), NAMES)
                raise self.wrong(f"unknown name {name!r}{hint}")
        self.arrays = {name: _as_array(value) for name, value in self.episode.items()}
        observed = [name for name in OBSERVED if name in self.episode]
        if len(observed) != 1:
            raise self.wrong("give 'obs' (T, N, O), or 'robot_observation' (T, D), and not both")
        action, discrete = self._action()
        T, N = action.shape[:2]
        if self.n_actions is not None and not discrete:
            raise self.wrong("n_actions belongs to discrete actions, and these are continuous")
        width = self._n_actions(N) if discrete else action.shape[2]
        seen = self._array(observed[0], "f", (None, N, None) if observed[0] == "obs" else (None, None))
        if len(seen) not in (T, T + 1):
            raise self.wrong(f"{observed[0]} has {len(seen)} rows for {T} actions; give {T}, or {T + 1} with the last")
        rows = len(seen)
        per_row: dict[str, NDArray[Any]] = {observed[0]: seen.astype(np.float32)}
        if discrete:
            self._check_indices(action, width)
            action = action.astype(np.int16)
            per_row["legal"] = self._legal(rows, N, width)
        elif self.episode.get("legal") is not None:
            raise self.wrong("legal actions belong to discrete actions, and these are continuous")
        if self.episode.get("state") is not None:
            shapes = (rows, N, None) if self.arrays["state"].ndim == 3 else (rows, None)
            per_row["state"] = self._array("state", "f", shapes).astype(np.float32)
        reward = self._array("reward", "f", (T, N) if self._axes("reward") == 2 else (T,))
        agents = (reward if reward.ndim == 2 else np.repeat(reward[:, None], N, 1)).astype(np.float32)
        team = np.where((agents == agents[:, :1]).all(1), agents[:, 0], agents.mean(1, dtype=np.float64))
        per_step = {"action": action, "reward": team.astype(np.float32), "agent_rewards": agents}
        flags = [self._flag(name, T) for name in FLAGS]
        return Taken(T, rows > T, N, width, discrete, per_row, per_step, flags[0], flags[1], self._seed())

    def _array(self, name: str, kind: str, shape: tuple[int | None, ...]) -> NDArray[Any]:
        """Return an array of numbers. Raises DataError for another shape; None stands for any length from 1."""
        if self.episode.get(name) is None:
            raise self.wrong(f"'{name}' is missing")
        array = self.arrays[name]
        if array.dtype.kind not in "biuf":
            raise self.wrong(f"{name} has type {array.dtype}; give an array of numbers")
        if array.ndim and not len(array):
            raise self.wrong(f"{name} has no steps; leave this episode out")
        fits = array.ndim == len(shape) and all(
            have >= 1 and have == (want or have) for have, want in zip(array.shape, shape, strict=True)
        )
        if not fits:
            wanted = ", ".join("any" if want is None else str(want) for want in shape)
            raise self.wrong(f"{name} has shape {array.shape}; give ({wanted}{',' if len(shape) == 1 else ''})")
        with np.errstate(over="ignore"):  # what exceeds float32 becomes infinite, and the rules refuse it
            return array.astype(np.float32) if kind == "f" else array

    def _axes(self, name: str) -> int:
        return self.arrays[name].ndim if name in self.arrays else 0

    def _action(self) -> tuple[NDArray[Any], bool]:
        """Return the actions, and whether they are indices: (T, N) whole numbers, or (T, N, A) numbers."""
        if self._axes("action") != 2:
            return self._array("action", "f", (None, None, None)), False
        action = self._array("action", "i", (None, None))
        if action.dtype.kind not in "iu":
            raise self.wrong(
                f"action has shape {action.shape} and type {action.dtype}; give (T, N, A), or indices of type int"
            )
        return action, True

    def _n_actions(self, agents: int) -> int:
        if self.episode.get("legal") is None:
            if self.n_actions is None:
                raise self.wrong("discrete actions need 'legal' (T, N, A), or n_actions=<number of actions>")
            return self.n_actions
        width = self._array("legal", "i", (None, agents, None)).shape[2]
        if self.n_actions not in (None, width):
            raise self.wrong(f"legal has {width} actions, n_actions is {self.n_actions}; make them equal")
        return int(width)

    def _check_indices(self, action: NDArray[Any], width: int) -> None:
        outside = (action < 0) | (action >= min(width, LARGEST))
        if outside.any():
            value = action[outside][0]
            raise self.wrong(f"action is {value} in {self._place(outside)}; give indices from 0 to {width - 1}")

    def _legal(self, rows: int, agents: int, width: int) -> NDArray[np.uint8]:
        if self.episode.get("legal") is None:
            return np.ones((rows, agents, width), np.uint8)
        legal = self._array("legal", "i", (rows, agents, width))
        other = (legal != 0) & (legal != 1)
        if other.any():
            raise self.wrong(f"legal is {legal[other][0]} in {self._place(other)}; give True or False")
        return legal.astype(np.uint8)

    def _flag(self, name: str, steps: int) -> bool:
        """Return a flag of the last step. It may be given for every step (T,)."""
        given = self.arrays.get(name, np.asarray(False))
        if given.dtype.kind not in "biuf" or given.shape not in ((), (steps,)) or not np.isin(given, (0, 1)).all():
            raise self.wrong(f"{name} must be True or False, or ({steps},) of them")
        early: NDArray[np.int64] = np.flatnonzero(np.atleast_1d(given)[:-1])
        if early.size:
            raise self.wrong(f"{name} is True in step {early[0]}, and the last step is {steps - 1}; split the episode")
        return bool(given[-1] if given.ndim else given)

    def _seed(self) -> int | None:
        if self.episode.get("seed") is None:
            return None
        seed = self.arrays["seed"]
        one = not seed.ndim and seed.dtype.kind in "biuf"
        if not one or seed.dtype.kind not in "iu" or int(seed) > LARGEST_SEED:
            what = str(seed) if one else f"of type {seed.dtype} and shape {seed.shape}"
            raise self.wrong(f"seed is {what}; give a whole number from -2**63 to 2**63 - 1")
        return int(seed)

    def _place(self, wrong: NDArray[np.bool_]) -> str:
        return first_place(wrong, 0, True).replace("row", "step")
