"""The rules of our layout, for columns, types, lengths, numbers, legal actions and episode boundaries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgm2p.errors import DataError

STEP_TYPES = {
    "rewards": "<f4",
    "terminal": "|u1",
    "timeout": "|u1",
    "has_action": "|u1",
    "t": "<i4",
}
EPISODE_TYPES = {"start": "<i8", "rows": "<i4", "length": "<i4", "return": "<f8", "end": "|u1"}
PIECE_BYTES = 1 << 20  # rows are checked in pieces that fit into the processor's cache

Table = Mapping[str, NDArray[Any]]
Rows = Callable[[str, int, int], NDArray[Any]]


def validate(path: Path, steps: Table, episodes: Table, attributes: Mapping[str, Any]) -> None:
    """Check columns, types, lengths, ranges and episode boundaries. Raises DataError, which names the first defect."""
    check_layout(path, steps, episodes, attributes)
    check_numbers(path, steps, attributes, lambda name, start, stop: steps[name][start:stop])
    check_episodes(path, steps, episodes)


def check_layout(path: Path, steps: Table, episodes: Table, attributes: Mapping[str, Any]) -> None:
    """Check names, types, lengths and shapes of the columns. Raises DataError, which names the first defect."""
    observed = observed_in(steps)
    for table, names in ((steps, [*STEP_TYPES, "actions"]), (episodes, list(EPISODE_TYPES))):
        absent = [name for name in names if name not in table]
        if absent or not observed:
            raise DataError(f"{path}: column '{(absent or ['observations'])[0]}' is missing; convert it again")
    assert observed is not None
    types = {**STEP_TYPES, "actions": "<i2" if attributes["discrete"] else "<f4", observed: "<f4"}
    for table, wanted in ((steps, types), (episodes, EPISODE_TYPES)):
        for name, dtype in wanted.items():
            if table[name].dtype != np.dtype(dtype):
                raise DataError(f"{path}: column '{name}' has type {table[name].dtype}, not {dtype}; convert it again")
        lengths = {name: len(array) for name, array in table.items()}
        if len(set(lengths.values())) > 1 or 0 in lengths.values():
            raise DataError(f"{path}: columns are empty or of unequal length {lengths}; convert it again")
    _check_shapes(path, steps, attributes, observed)


def observed_in(steps: Mapping[str, Any]) -> str | None:
    """Return the name of the column with the observations, or None if there is none."""
    return next((name for name in ("robot_observation", "observations") if name in steps), None)


def _check_shapes(path: Path, steps: Table, attributes: Mapping[str, Any], observed: str) -> None:
    agents, actions = attributes["n_agents"], steps["actions"]
    discrete, width = attributes["discrete"], attributes["action_dim"]
    wanted = (agents,) if discrete else (agents, width)
    if actions.shape[1:] != wanted:
        raise DataError(
            f"{path}: actions have shape {actions.shape[1:]} per row, the attributes require {wanted}; convert it again"
        )
    if discrete and steps.get("legal_actions", actions).shape[1:] != (agents, width):
        raise DataError(f"{path}: legal_actions are missing, or not ({agents}, {width}) per row; convert it again")
    if steps[observed].ndim != (2 if observed == "robot_observation" else 3):
        raise DataError(f"{path}: '{observed}' has {steps[observed].ndim} axes; convert it again")


def check_numbers(path: Path, steps: Table, attributes: Mapping[str, Any], rows: Rows) -> None:
    """Check that numbers are finite and stored actions are legal and in range. Rows are read piece by piece.

    Args:
        path: name of the file for error messages.
        steps: the columns. Only their types and shapes are used.
        attributes: attributes of the file.
        rows: function (name, start, stop) -> rows start .. stop - 1 of a column.

    Raises:
        DataError: it names the first defect.
    """
    observed = observed_in(steps)
    names = [name for name in (observed, "rewards", "actions") if name and steps[name].dtype.kind == "f"]
    total, illegal = len(steps["t"]), 0
    widest = max(steps[name].dtype.itemsize * int(np.prod(steps[name].shape[1:])) for name in (*names, "actions"))
    piece = max(1, PIECE_BYTES // widest)
    for start in range(0, total, piece):
        stop = min(start + piece, total)
        for name in names:
            finite = np.isfinite(rows(name, start, stop))
            if not finite.all():
                row = start + int(np.argwhere(~finite)[0][0])
                raise DataError(
                    f"{path}: '{name}' holds NaN or infinity, first in row {row}; repair or drop that episode"
                )
        if attributes["discrete"]:
            illegal += _illegal(rows, start, stop)
        else:
            _check_range(path, rows, start, stop, float(attributes.get("action_limit", 1.0)))
    if illegal:
        raise DataError(f"{path}: {illegal} stored actions are not legal; convert it again")


def _illegal(rows: Rows, start: int, stop: int) -> int:
    """Return how many stored actions are not legal. Rows without an action do not count."""
    actions = rows("actions", start, stop).astype(np.int64)
    legal = rows("legal_actions", start, stop)
    inside = (actions >= 0) & (actions < legal.shape[-1])
    played = np.take_along_axis(legal, np.where(inside, actions, 0)[..., None], -1)[..., 0]
    acting = rows("has_action", start, stop).astype(bool)
    return int((~inside | (played == 0))[acting].sum())


def _check_range(path: Path, rows: Rows, start: int, stop: int, limit: float) -> None:
    actions = rows("actions", start, stop)
    if max(actions.max(), -actions.min()) > limit + 1e-6:  # rows without an action may hold any number
        largest = np.abs(actions[rows("has_action", start, stop).astype(bool)]).max(initial=0.0)
        if largest > limit + 1e-6:
            raise DataError(
                f"{path}: actions reach {largest:.3f}, which is outside [-{limit:g}, {limit:g}]; rescale them"
            )


def check_episodes(path: Path, steps: Table, episodes: Table) -> None:
    """Check that episodes follow one another and agree with has_action, t and the end flags. Raises DataError."""
    start, rows, length = (episodes[name].astype(np.int64) for name in ("start", "rows", "length"))
    total = len(steps["t"])
    ends = start + rows
    if start[0] != 0 or ends[-1] != total or (ends[:-1] != start[1:]).any() or (rows < 1).any():
        raise DataError(f"{path}: the episode boundaries do not cover all rows in order; convert it again")
    acting = np.add.reduceat(steps["has_action"].astype(np.int64), start)
    if (acting != length).any() or ((rows - length) > 1).any():
        raise DataError(f"{path}: episode lengths do not agree with has_action; convert it again")
    counted = np.arange(total) - np.repeat(start, rows)
    if (counted != steps["t"]).any():
        raise DataError(f"{path}: step numbers do not restart at episode boundaries; convert it again")
    last = start + length - 1
    flags = steps["terminal"] + steps["timeout"]
    if flags.sum() != flags[last[length > 0]].sum():
        raise DataError(f"{path}: an end flag is inside an episode; convert it again")
