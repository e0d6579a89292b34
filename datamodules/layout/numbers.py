"""The rules for the numbers in the step columns: finite, in range, and stored actions legal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgm2p.datamodules.layout.attributes import broken
from vgm2p.errors import DataError

PIECE_BYTES = 1 << 20  # rows are checked in pieces that fit into the processor's cache
FINITE = ("robot_observation", "observations", "state", "rewards", "agent_rewards", "actions")
OF_AGENTS = ("observations", "agent_rewards", "actions", "legal_actions")  # their second axis is the agent
SLACK = 1e-6  # by how much an action may pass its bound: rounding

Rows = Callable[[str, int, int], NDArray[Any]]


def check_numbers(path: Path, steps: Mapping[str, Any], attributes: Mapping[str, Any], rows: Rows) -> None:
    """Check that numbers are finite and stored actions are legal and in range. Rows are read piece by piece.

    Args:
        path: name of the file for error messages.
        steps: the columns. Only their types and shapes are used.
        attributes: attributes of the file.
        rows: function (name, start, stop) -> rows start .. stop - 1 of a column.

    Raises:
        DataError: it names the first defect, with its row and, where there is one, its agent.
    """
    names = [name for name in FINITE if name in steps and steps[name].dtype.kind == "f"]
    total, illegal, place = len(steps["t"]), 0, ""
    widest = max(steps[name].dtype.itemsize * int(np.prod(steps[name].shape[1:])) for name in (*names, "actions"))
    piece = max(1, PIECE_BYTES // widest)
    for start in range(0, total, piece):
        stop = min(start + piece, total)
        for name in names:
            check_finite(path, name, rows(name, start, stop), start)
        if attributes["discrete"]:
            wrong = _illegal(path, rows, start, stop)
            if wrong.any():
                place = place or first_place(wrong, start, True)
                illegal += int(wrong.sum())
        else:
            _check_range(path, rows, start, stop, float(attributes.get("action_limit", 1.0)))
    if illegal:
        raise broken(path, f"{illegal} stored actions are not legal, first in {place}")


def check_finite(path: Path, name: str, rows: NDArray[Any], start: int) -> None:
    """Check that rows of a column, counted from `start`, are finite. Raises DataError, which names the first place."""
    finite = np.isfinite(rows)
    if not finite.all():
        where = first_place(~finite, start, name in OF_AGENTS)
        raise DataError(f"{path}: '{name}' holds NaN or infinity, first in {where}; repair or drop that episode")


def first_place(wrong: NDArray[Any], start: int = 0, of_agents: bool = False) -> str:
    """Return the place of the first True as text: its row, counted from `start`, and its agent (axis 1)."""
    index = np.argwhere(wrong)[0].tolist()
    agent = f", agent {index[1]}" if of_agents and len(index) > 1 else ""
    return f"row {start + index[0]}{agent}"


def _illegal(path: Path, rows: Rows, start: int, stop: int) -> NDArray[np.bool_]:
    """Return where stored actions (rows, N) are not legal. Rows without an action do not count.

    Raises DataError for masks and indices that no row may hold.
    """
    actions = rows("actions", start, stop).astype(np.int64)
    legal = rows("legal_actions", start, stop)
    if legal.max(initial=0) > 1:
        raise broken(path, f"legal_actions hold {legal.max()}, first in {first_place(legal > 1, start, True)}")
    inside = (actions >= 0) & (actions < legal.shape[-1])
    if not inside.all():
        where, width = first_place(~inside, start, True), legal.shape[-1]
        raise broken(path, f"actions hold {actions[~inside][0]}, not an index from 0 to {width - 1}, first in {where}")
    played = np.take_along_axis(legal, actions[..., None], -1)[..., 0]
    acting = rows("has_action", start, stop).astype(bool)
    stuck = ~legal.any(-1) & _bootstrapped(rows, start, stop)[:, None]
    if stuck.any():
        raise broken(path, f"a final observation has no legal action, first in {first_place(stuck, start, True)}")
    found: NDArray[np.bool_] = (played == 0) & acting[:, None]
    return found


def _bootstrapped(rows: Rows, start: int, stop: int) -> NDArray[np.bool_]:
    """Return which rows are final observations of episodes that did not terminate: their value is estimated."""
    before = max(0, start - 1)
    finals = rows("has_action", start, stop) == 0
    over = np.append(np.zeros(int(start == 0), bool), rows("terminal", before, stop - 1) != 0)
    found: NDArray[np.bool_] = finals & ~over
    return found


def _check_range(path: Path, rows: Rows, start: int, stop: int, limit: float) -> None:
    actions = rows("actions", start, stop)
    if max(actions.max(), -actions.min()) > limit + SLACK:  # rows without an action may hold any number
        beyond = (np.abs(actions) > limit + SLACK) & rows("has_action", start, stop).astype(bool)[:, None, None]
        if beyond.any():
            largest, where = np.abs(actions[beyond]).max(), first_place(beyond, start, True)
            raise DataError(
                f"{path}: actions reach {largest:.3f}, which is outside [-{limit:g}, {limit:g}], first in {where}; "
                "rescale them"
            )
