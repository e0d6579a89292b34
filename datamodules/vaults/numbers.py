"""Judges the numbers of a vault before they are converted to narrower types. A refusal names leaf, row and agent."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgm2p.errors import DataError


class Judge:
    """Refuses the numbers that our layout cannot hold.

    In all methods, `rows` (n, N, ...) are rows of a leaf, or (n, k) if the leaf is not divided by agents. `numbers`
    (n,) are their row numbers in the vault.

    Args:
        where: name of the vault.
        agents: number of agents N.
        repair: what the user can do about a wrong number.
    """

    def __init__(self, where: str, agents: int, repair: str) -> None:
        self.where, self.agents, self.repair = where, agents, repair

    def require(self, good: NDArray[np.bool_], rows: NDArray[Any], numbers: NDArray[Any], leaf: str, rule: str) -> None:
        """Raise DataError for the first number in `rows` that is not `good` (same shape). `rule` says what is wrong."""
        if good.all():
            return
        first = tuple(np.argwhere(~good)[0])
        agent = f", agent {first[1]}" if rows.ndim > 1 and rows.shape[1] == self.agents else ""
        value = rows[first]
        shown = f"{value:g}" if isinstance(value, np.floating | np.integer) else str(value)
        raise DataError(
            f"{self.where}: '{leaf}' holds {shown} in row {numbers[first[0]]}{agent}, {rule}; {self.repair}"
        )

    def float32(self, rows: NDArray[Any], numbers: NDArray[Any], leaf: str) -> NDArray[np.float32]:
        """Return `rows` as float32. Raises DataError for NaN, infinity and numbers that are too large for float32."""
        with np.errstate(over="ignore"):
            narrow: NDArray[np.float32] = rows.astype(np.float32, copy=False)
        self.require(np.isfinite(narrow), rows, numbers, leaf, "not finite, or too large for float32")
        return narrow

    def binary(self, rows: NDArray[Any], numbers: NDArray[Any], leaf: str) -> NDArray[np.bool_]:
        """Return `rows` as truth values. Raises DataError for a number other than 0 and 1."""
        self.require((rows == 0) | (rows == 1), rows, numbers, leaf, "not 0 or 1")
        found: NDArray[np.bool_] = rows != 0
        return found

    def indices(self, rows: NDArray[Any], numbers: NDArray[Any], leaf: str, count: int) -> NDArray[np.int16]:
        """Return `rows` as indices. Raises DataError for a number other than 0, 1, ... `count` - 1."""
        whole = rows == np.floor(rows) if rows.dtype.kind == "f" else True
        self.require(whole & (rows >= 0) & (rows < count), rows, numbers, leaf, f"no index from 0 to {count - 1}")
        return rows.astype(np.int16)
