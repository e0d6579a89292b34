"""Which share of a vault's continuous actions lies outside [-1, 1]."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgm2p.datamodules.layout.facts import outside
from vgm2p.datamodules.vaults.contents import LEGALS
from vgm2p.datamodules.vaults.declared import Declared
from vgm2p.errors import DataError

MOST_CLIPPED = 0.01  # largest share of actions beyond [-1, 1] that need not be declared


class Clipped:
    """Counts the actions outside [-1, 1], slab by slab. Training clips them.

    Args:
        indices: what the user does with actions that are indices, for messages.

    Attributes:
        largest: largest absolute value.
        first: row and agent of the first action outside.
        whole: whether all actions are whole numbers from 0 on, with a number above 1 among them.
    """

    def __init__(self, indices: str = f"store {LEGALS}") -> None:
        self._indices = indices
        self._outside, self._total, self._whole = 0, 0, True
        self.largest, self.first = 0.0, (-1, -1)

    def add(self, rows: NDArray[np.float32], numbers: NDArray[Any]) -> None:
        """Add the actions `rows` (n, N, A); `numbers` (n,) are their rows in the vault."""
        found = outside(rows)
        count = int(found.sum())
        if count and not self._outside:
            row, agent, _ = np.argwhere(found)[0]
            self.first = (int(numbers[row]), int(agent))
        self._outside, self._total = self._outside + count, self._total + rows.size
        self.largest = max(self.largest, float(np.abs(rows).max(initial=0.0)))
        self._whole = self._whole and bool(((rows >= 0) & (rows == np.floor(rows))).all())

    @property
    def share(self) -> float:
        """Share of the numbers that lie outside."""
        return self._outside / max(1, self._total)

    @property
    def whole(self) -> bool:
        """Whether the actions look like indices."""
        return self._whole and self.largest > 0.0

    def facts(self, declared: Declared) -> dict[str, float]:
        """Return what a dataset keeps about its actions."""
        found = {"action_limit": max(self.largest, 1.0), "clipped_share": self.share}
        return found if declared.action_scale is None else {**found, "action_scale": declared.action_scale}

    def require_declared(self, where: str, declared: Declared, elsewhere: str = "") -> None:
        """Raise DataError if more than MOST_CLIPPED of the numbers lie outside and nothing says what this means.

        Args:
            where: name of the data.
            declared: what the user declares about them.
            elsewhere: how the user declares it in another command.
        """
        if declared.clip or self.share <= MOST_CLIPPED:
            return
        advice = f"set action_scale=<number> or clip=true{elsewhere}"
        if self.whole and declared.action_scale is None:
            advice = f"{self._indices} if they are indices, else set action_scale=<number> or clip=true"
        row, agent = self.first
        raise DataError(
            f"{where}: {self.share:.1%} of actions are outside [-1, 1] (to {self.largest:.3g}, row {row}, "
            f"agent {agent}); {advice}"
        )

    def notices(self, declared: Declared) -> list[str]:
        """Return lines for the user."""
        if not self._total:
            return []
        scale = (
            "" if declared.action_scale is None else f"actions are divided by action_scale={declared.action_scale:g}; "
        )
        found = (
            f"{self.share:.2%} of the actions are outside [-1, 1] and are clipped"
            if self._outside
            else "no action is outside [-1, 1]"
        )
        lines = [f"{scale}{found} (largest {self.largest:.4g})"]
        if self.whole:
            lines.append(
                f"actions are taken as continuous, but all are whole numbers; if they are indices, {self._indices}"
            )
        return lines
