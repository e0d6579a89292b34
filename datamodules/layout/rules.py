"""The rules of our layout. They hold for every file, whoever wrote it: writer, conversion, `data check` and `fit`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgm2p.datamodules.layout.attributes import broken, check_attributes
from vgm2p.datamodules.layout.consistency import check_episodes
from vgm2p.datamodules.layout.numbers import check_numbers
from vgm2p.datamodules.layout.schema import NUMERIC

STEP_TYPES = {"rewards": "<f4", "terminal": "|u1", "timeout": "|u1", "has_action": "|u1", "t": "<i4"}
EPISODE_TYPES = {"start": "<i8", "rows": "<i4", "length": "<i4", "return": "<f8", "end": "|u1"}
OBSERVED = ("robot_observation", "observations")  # a file has one of them

Table = Mapping[str, NDArray[Any]]
Outline = Mapping[str, Any]  # name -> anything with a type and a shape


def validate(path: Path, steps: Table, episodes: Table, attributes: Mapping[str, Any]) -> None:
    """Check attributes, columns, numbers and episodes. Raises DataError, which names `path` and the first defect."""
    check_layout(path, steps, episodes, attributes)
    check_numbers(path, steps, attributes, lambda name, start, stop: steps[name][start:stop])
    check_episodes(path, steps, episodes, attributes)


def check_layout(path: Path, steps: Outline, episodes: Outline, attributes: Mapping[str, Any]) -> None:
    """Check the attributes, and names, types, lengths and shapes of the columns.

    Only type and shape of a column are used, so HDF5 datasets will do. Raises DataError, which names the first defect.
    """
    check_attributes(path, attributes)
    observed = observed_in(steps)
    for group, table, names in (
        ("steps", steps, [*STEP_TYPES, "actions"]),
        ("episodes", episodes, list(EPISODE_TYPES)),
    ):
        absent = [name for name in names if name not in table]
        if absent or observed is None:
            raise broken(path, f"column '{(absent or ['observations'])[0]}' is missing")
        for name, column in table.items():
            if not name.isidentifier() or not column.shape or column.dtype.kind not in NUMERIC:
                raise broken(path, f"column '{group}/{name}' is {_form(column)}, which no column may have")
        lengths = {name: column.shape[0] for name, column in table.items()}
        if len(set(lengths.values())) > 1 or 0 in lengths.values():
            raise broken(path, f"columns of '{group}' are empty or of unequal length {_extremes(lengths)}")
    assert observed is not None
    if all(name in steps for name in OBSERVED):
        raise broken(path, "it holds both 'robot_observation' and 'observations'; keep one of them")
    if attributes["discrete"] and "legal_actions" not in steps:
        raise broken(path, "legal_actions are missing; discrete actions need them")
    if not attributes["discrete"] and "legal_actions" in steps:
        raise broken(path, "legal_actions belong to discrete actions, and these are continuous")
    _check_columns(path, steps, attributes)
    for name, column in episodes.items():
        wanted = EPISODE_TYPES.get(name)
        if (wanted and column.dtype != np.dtype(wanted)) or column.shape[1:] != ():
            needed = np.dtype(wanted).name if wanted else "one number"
            raise broken(path, f"column '{name}' is {_form(column)}, not {needed} per episode")
    if "behaviour" in episodes and episodes["behaviour"].dtype.kind not in "iu":
        raise broken(path, f"column 'behaviour' has type {episodes['behaviour'].dtype}, not whole numbers")


def observed_in(steps: Mapping[str, Any]) -> str | None:
    """Return the name of the column with the observations, or None if there is none."""
    return next((name for name in OBSERVED if name in steps), None)


def _check_columns(path: Path, steps: Mapping[str, Any], attributes: Mapping[str, Any]) -> None:
    """Check type and shape per row of every step column that the layout knows. An axis of None may have any width."""
    agents, width = attributes["n_agents"], attributes["action_dim"]
    actions: tuple[str, list[tuple[int | None, ...]]]
    actions = ("<i2", [(agents,)]) if attributes["discrete"] else ("<f4", [(agents, width)])
    known: dict[str, tuple[str, list[tuple[int | None, ...]]]] = {
        **{name: (dtype, [()]) for name, dtype in STEP_TYPES.items()},
        "actions": actions,
        "legal_actions": ("|u1", [(agents, width)]),
        "robot_observation": ("<f4", [(None,)]),
        "observations": ("<f4", [(agents, None)]),
        "state": ("<f4", [(None,), (agents, None)]),
        "agent_rewards": ("<f4", [(agents,)]),
    }
    for name, (dtype, shapes) in known.items():
        if name not in steps:
            continue
        column = steps[name]
        if column.dtype != np.dtype(dtype):
            raise broken(path, f"column '{name}' has type {column.dtype}, not {np.dtype(dtype)}")
        if not any(_fits(column.shape[1:], shape) for shape in shapes):
            wanted = " or ".join(_shown(shape) for shape in shapes)
            raise broken(path, f"{name} have shape {_shown(column.shape[1:])} per row, the attributes require {wanted}")


def _fits(found: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(found) == len(wanted) and all(
        width >= 1 and width == (need or width) for width, need in zip(found, wanted, strict=True)
    )


def _shown(shape: tuple[int | None, ...]) -> str:
    return f"({', '.join('any' if width is None else str(width) for width in shape)})"


def _form(column: Any) -> str:
    if not column.shape:
        return f"a single {column.dtype}"
    return f"{column.dtype} of shape {_shown(column.shape[1:])} per row" if column.shape[1:] else str(column.dtype)


def _extremes(lengths: Mapping[str, int]) -> str:
    """Return the shortest and the longest column as text."""
    ordered = sorted(lengths, key=lambda name: lengths[name])
    return ", ".join(f"{name} {lengths[name]}" for name in dict.fromkeys((ordered[0], ordered[-1])))
