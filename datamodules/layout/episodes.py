"""The only builder of the step table and the episode table of our layout.

A producer says how long each episode is and how it ended. From this, `Episodes` derives where each row lies, the flags
of each row and the columns of each episode.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgm2p.datamodules.layout.schema import INCOMPLETE, TERMINAL, TIMEOUT, TRUNCATION, Columns

Table = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Episodes:
    """E episodes that follow one another in R rows, with n steps in total.

    Args:
        length: (E,) number of steps of each episode.
        end: (E,) how each episode ended: TERMINAL, TIMEOUT, TRUNCATION or INCOMPLETE.
        finals: True if each episode stores its final observation, in a row of its own behind the last step. Then
            R = n + E, otherwise R = n.
    """

    length: NDArray[Any]
    end: NDArray[Any]
    finals: bool

    @property
    def rows(self) -> NDArray[Any]:
        """(E,) number of rows of each episode."""
        return self.length + int(self.finals)

    @property
    def start(self) -> NDArray[np.int64]:
        """(E,) first row of each episode."""
        return first_rows(self.rows)

    @property
    def total(self) -> int:
        """R, the number of rows of all episodes."""
        return int(self.rows.sum())

    @property
    def has_action(self) -> NDArray[np.bool_]:
        """(R,) True for steps, False for final observations."""
        found = np.ones(self.total, bool)
        if self.finals:
            found[self.start + self.length] = False
        return found

    def spread(self, values: NDArray[Any], finals: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return a column (R, ...) from one value per step (n, ...).

        The rows of the final observations get `finals` (E, ...), or zeros if there are none.
        """
        has_action = self.has_action
        column = np.zeros((self.total, *values.shape[1:]), values.dtype)
        column[has_action] = values
        if finals is not None:
            column[~has_action] = finals
        return column

    def columns(self, steps: Table, attributes: Mapping[str, Any], known: Table | None = None) -> Columns:
        """Return the dataset.

        Args:
            steps: columns with R rows: `rewards`, and what was observed and done.
            attributes: attributes of the dataset.
            known: further columns with E rows, for example `seed` and `behaviour`.
        """
        derived: Table = {
            "terminal": self._flag(TERMINAL),
            "timeout": self._flag(TIMEOUT, TRUNCATION),
            "has_action": self.has_action.astype(np.uint8),
            "t": (np.arange(self.total) - np.repeat(self.start, self.rows)).astype(np.int32),
        }
        table: Table = {
            "start": self.start,
            "rows": self.rows.astype(np.int32),
            "length": self.length.astype(np.int32),
            "return": returns_of(steps["rewards"], self.start),
            "end": self.end.astype(np.uint8),
        }
        return Columns({**steps, **derived}, {**table, **(known or {})}, dict(attributes))

    def _flag(self, *ends: int) -> NDArray[np.uint8]:
        """Return a column (R,) that is 1 in the last step of the episodes that ended in one of these ways."""
        column = np.zeros(self.total, np.uint8)
        chosen = np.isin(self.end, ends) & (self.length > 0)
        column[(self.start + self.length - 1)[chosen]] = 1
        return column


def first_rows(rows: NDArray[Any]) -> NDArray[np.int64]:
    """Return the first row (E,) of episodes that follow one another and have `rows` (E,) rows each."""
    found: NDArray[np.int64] = (np.cumsum(rows) - rows).astype(np.int64)
    return found


def returns_of(rewards: NDArray[Any], start: NDArray[Any]) -> NDArray[np.float64]:
    """Return the sums (E,) of rewards (R,) over episodes that begin in the rows `start` (E,)."""
    found: NDArray[np.float64] = np.add.reduceat(rewards.astype(np.float64), start)
    return found


def figures(table: Table) -> dict[str, float]:
    """Return the number of complete episodes of an episode table, and the mean, deviation and range of their returns.

    The keys are those of a catalogue entry: `episodes`, `return_mean`, `return_std`, `return_min`, `return_max`. If no
    episode is complete, only `episodes` is there.
    """
    returns = table["return"][table["end"] != INCOMPLETE]
    if not len(returns):
        return {"episodes": 0}
    return {
        "episodes": len(returns),
        "return_mean": float(returns.mean()),
        "return_std": float(returns.std()),
        "return_min": float(returns.min()),
        "return_max": float(returns.max()),
    }
