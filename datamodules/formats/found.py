"""What a reader finds in a file of another program, and what all readers share."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from vgm2p.datamodules.layout.schema import INCOMPLETE, TERMINAL, TIMEOUT, TRUNCATION
from vgm2p.datamodules.vaults.declared import Declared
from vgm2p.errors import DataError

SMALL = 0.5  # if no action exceeds this number, the robot's bounds may be others than -1 and 1
REPAIR = "repair it, or leave that episode out"  # the remedy for a wrong number in a file


@dataclass
class Found:
    """n steps of E episodes that follow one another.

    Attributes:
        observations: (n, D) float32, what one agent saw before each step; or (n, N, O) of N agents.
        actions: (n, K) float32 joint actions; or (n, N, A) of N agents. `action_scale` is not applied to them.
        rewards: (n,) float32 reward of the team.
        length: (E,) number of steps of each episode.
        end: (E,) TERMINAL, TIMEOUT, TRUNCATION or INCOMPLETE.
        finals: (E, D) float32 observation after the last step of each episode; None: not stored.
        limit: number of steps after which the task ends an episode.
        rows: (n,) row of the file that holds each step, for messages.
        attributes: attributes of the dataset that only this format has, and `env_id`, `env_kwargs`, `name` if known.
        notices: what was inferred, as lines for the user.
        steps: further step columns (n, ...).
    """

    observations: NDArray[np.float32]
    actions: NDArray[np.float32]
    rewards: NDArray[np.float32]
    length: NDArray[np.int64]
    end: NDArray[Any]
    finals: NDArray[np.float32] | None
    limit: int
    rows: NDArray[np.int64]
    attributes: dict[str, Any] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    steps: dict[str, NDArray[Any]] = field(default_factory=dict)


def ends_of(
    terminal: NDArray[np.bool_], length: NDArray[np.int64], cut: NDArray[np.bool_], limit: int
) -> NDArray[np.int64]:
    """Return how episodes ended: (E,) from their last steps' flags. A terminal at the step limit is a terminal.

    Args:
        terminal: (E,) whether the task ended.
        length: (E,) number of steps.
        cut: (E,) whether the episode was cut: at the step limit, or elsewhere.
        limit: number of steps after which the task ends an episode.
    """
    stopped = np.where(length == limit, TIMEOUT, TRUNCATION)
    return np.where(terminal, TERMINAL, np.where(cut, stopped, INCOMPLETE))


def limit_of(
    path: Path, length: NDArray[np.int64], declared: int | None, stored: int | None = None
) -> tuple[int, list[str]]:
    """Return the step limit: declared by the user, stored in the file, or the longest episode; and lines for the user.

    Raises DataError if an episode is longer.
    """
    limit, longest = declared or stored, int(length.max())
    if limit is None:
        return longest, [f"episode_limit is taken to be {longest}, the length of the longest episode"]
    if longest > limit:
        raise DataError(
            f"{path}: episode {int(length.argmax())} has {longest} steps, more than the limit of {limit}; "
            "an end flag is missing, or set episode_limit=<steps>"
        )
    return limit, []


def about_scale(actions: NDArray[np.float32], declared: Declared) -> list[str]:
    """Return a line for the user if actions are so small that they may need a scale, and none is declared."""
    largest = float(np.abs(actions).max(initial=0.0))
    if declared.action_scale is not None or not 0.0 < largest < SMALL:
        return []
    return [f"no action exceeds {largest:.4g}: if the robot's bounds are not -1 and 1, set action_scale=<bound>"]


def require_form(path: Path, name: str, array: h5py.Dataset, kinds: str, shape: tuple[int | None, ...]) -> None:
    """Raise DataError if an array has another kind of type, or another shape. An axis of None may have any length."""
    sizes = zip(array.shape, shape, strict=False)
    good = len(array.shape) == len(shape) and all(size == (need or size) and size >= 1 for size, need in sizes)
    if array.dtype.kind in kinds and good:
        return
    wanted = ", ".join("any" if need is None else str(need) for need in shape)
    what = {"f": "numbers (float)", "b": "flags"}[kinds[0]]
    raise DataError(
        f"{path}: '{name}' is {array.dtype} of shape {array.shape}, this reader takes {what} of shape ({wanted}); "
        "docs/data.md lists what is read"
    )


def flat(rows: NDArray[Any]) -> NDArray[Any]:
    """Return a column (n,) for rows (n,) or (n, 1)."""
    return rows.reshape(len(rows))
