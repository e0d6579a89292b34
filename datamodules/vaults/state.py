"""Check whether a vault's global state changes. Some recorders stored the state of the reset in every row."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class StateCheck:
    """Collects facts about the state column, slab by slab."""

    def __init__(self) -> None:
        self._changed: list[NDArray[np.bool_]] = []  # per row: whether it differs from the previous row
        self._last: NDArray[Any] | None = None
        self._first: NDArray[Any] | None = None
        self._varies: NDArray[np.bool_] | None = None  # per entry: whether any row differs from the first

    def add(self, rows: NDArray[Any]) -> None:
        """Add the next rows (n, ...)."""
        if not len(rows):
            return
        flat = rows.reshape(len(rows), -1)
        if self._first is None or self._last is None or self._varies is None:
            self._first, self._last, self._varies = flat[0].copy(), flat[0], np.zeros(flat.shape[1], bool)
        changed = np.empty(len(flat), bool)
        changed[0] = (flat[0] != self._last).any()
        changed[1:] = (flat[1:] != flat[:-1]).any(1)
        self._changed.append(changed)
        self._varies |= (flat != self._first).any(0)
        self._last = flat[-1].copy()

    def facts(self, start: NDArray[np.int64], length: NDArray[np.int32]) -> dict[str, int]:
        """Return how many entries never vary, and in how many episodes no entry varies. Zeros are left out.

        Args:
            start: (E,) first row of each episode.
            length: (E,) number of steps of each episode.
        """
        if self._varies is None:
            return {}
        changed = np.concatenate(self._changed)
        changed[start] = False  # the first row of an episode has no previous row
        moves = np.add.reduceat(changed.astype(np.int64), start)
        still = int(((moves == 0) & (length > 1)).sum())
        found = {"state_constant_entries": int((~self._varies).sum()), "state_still_episodes": still}
        return {name: count for name, count in found.items() if count}


def notices(facts: dict[str, Any], entries: int, episodes: int) -> list[str]:
    """Return the lines that report `facts` to the user."""
    lines = []
    if still := facts.get("state_still_episodes", 0):
        lines.append(
            f"the state never changes in {still} of {episodes} episodes (recorded at reset only?); "
            "do not train on the state if these are many"
        )
    if constant := facts.get("state_constant_entries", 0):
        lines.append(f"{constant} of {entries} entries of the state are the same in every row")
    return lines
