"""Rules for the wide leaves of a vault: which column a leaf fills, how it is converted, how its numbers are checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgm2p.datamodules.layout.episodes import Episodes
from vgm2p.datamodules.vaults.state import StateCheck, notices
from vgm2p.datamodules.vaults.vault import Vault
from vgm2p.envs.observation import recovery_error
from vgm2p.errors import DataError

RECOVERY = 1e-3  # largest difference between z-scored vectors and vectors rebuilt from the recovered observation
PIECE_ROWS = 4096  # number of rows rebuilt at once


def accept(rows: NDArray[Any]) -> None:
    """Accept all rows. For leaves that need no check beyond the one in their rule."""


@dataclass
class LeafRule:
    """How one wide leaf is converted.

    Attributes:
        leaf: name of the leaf in the vault.
        column: name of the step column that it fills.
        dtype: type of the column.
        shape: shape of one row of the column.
        rule: function that converts rows of the leaf to rows of the column. It is called slab after slab.
        judge: function that checks rows of the column, slab after slab, in a thread. It raises DataError.
    """

    leaf: str
    column: str
    dtype: str
    shape: tuple[int, ...]
    rule: Callable[[NDArray[Any]], NDArray[Any]]
    judge: Callable[[NDArray[Any]], None] = accept


class LeafRules:
    """Rules for the wide leaves of one vault, and the facts that they collect.

    Args:
        vault: the vault.
        discrete: whether actions are indices.
        zscored: whether an observation is the robot's vector and the agent's one-hot, z-scored per vector.
    """

    def __init__(self, vault: Vault, discrete: bool, zscored: bool) -> None:
        self.vault, self.discrete, self.zscored = vault, discrete, zscored
        self.where = str(vault.folder)
        self.agents = vault.leaves["observations"].shape[0]
        self._acted: list[NDArray[Any]] = []
        self._padding: NDArray[np.bool_] | None = None
        self._facts: dict[str, Any] = {}
        self._state = StateCheck()

    def columns(self) -> list[LeafRule]:
        """Return the rules in the order of their use: actions come first, then the legal masks that must allow them."""
        leaves = self.vault.leaves
        observed, width = leaves["observations"].shape, leaves["actions"].shape[1:] if not self.discrete else ()
        found = [
            LeafRule("actions", "actions", "<i2" if self.discrete else "<f4", (self.agents, *width), self._actions)
        ]
        if self.discrete:
            found.append(LeafRule("infos.legals", "legal_actions", "|u1", leaves["infos.legals"].shape, self._legals))
        judge = self._recover if self.zscored else accept
        found.append(LeafRule("observations", "observations", "<f4", observed, self._observations, judge))
        if "infos.state" in leaves:
            found.append(
                LeafRule("infos.state", "state", "<f4", leaves["infos.state"].shape, self._states, self._state.add)
            )
        return found

    def facts(self, episodes: Episodes) -> dict[str, Any]:
        """Return the facts found. Call this after all columns are converted."""
        return self._facts | self._state.facts(episodes.start, episodes.length)

    def notices(self, episodes: Episodes) -> list[str]:
        """Return lines for the user. Call this after all columns are converted."""
        leaf = self.vault.leaves.get("infos.state")
        entries = int(np.prod(leaf.shape)) if leaf else 0
        return notices(self.facts(episodes), entries, len(episodes.length))

    def _observations(self, rows: NDArray[Any]) -> NDArray[Any]:
        rows = _float32(rows)
        if self._padding is None and np.isfinite(rows).all():
            return rows
        padded = np.isneginf(rows)
        if padded.any():  # omar/mpe pads shorter vectors with -inf, at the same entries in every row
            self._padding = padded[0] if self._padding is None else self._padding
        if self._padding is not None:
            if (padded != self._padding).any():
                raise DataError(f"{self.where}: -inf is in the observations of some rows only; fetch the vault again")
            self._facts["obs_valid"] = (~self._padding).sum(-1).tolist()
            rows = np.where(padded, np.float32(0.0), rows)
        self._finite("observations", rows)
        return rows

    def _recover(self, rows: NDArray[np.float32]) -> None:
        for start in range(0, len(rows), PIECE_ROWS):
            error = recovery_error(rows[start : start + PIECE_ROWS], self.agents)
            if not error <= RECOVERY:  # true for NaN, too
                raise DataError(
                    f"{self.where}: observations are not z-scored vectors with one-hots; correct the catalogue"
                )
            self._facts["recovery_error"] = max(error, self._facts.get("recovery_error", 0.0))

    def _actions(self, rows: NDArray[Any]) -> NDArray[Any]:
        if self.discrete:
            chosen = rows.reshape(len(rows), self.agents)
            self._acted.append(chosen.astype(np.int16))
            return chosen
        self._finite("actions", rows)
        largest = float(np.abs(rows).max(initial=0.0))
        self._facts["action_limit"] = max(largest, self._facts.get("action_limit", 1.0))
        return rows

    def _legals(self, rows: NDArray[Any]) -> NDArray[Any]:
        legal: NDArray[Any] = (rows != 0).astype(np.uint8)
        stuck = ~legal.any(-1)
        if stuck.any():
            self._facts["rows_without_legal_action"] = int(stuck.sum()) + self._facts.get(
                "rows_without_legal_action", 0
            )
            legal[..., 0] |= stuck
        if len(self._acted) > 1:
            self._acted = [np.concatenate(self._acted)]
        acted, self._acted = self._acted[0][: len(legal)], [self._acted[0][len(legal) :]]
        inside = (acted >= 0) & (acted < legal.shape[-1])
        played = np.take_along_axis(legal, np.where(inside, acted, 0)[..., None].astype(np.int64), -1)[..., 0]
        illegal = int((~inside | (played == 0)).sum())
        if illegal:
            raise DataError(f"{self.where}: {illegal} stored actions are not legal; fetch the vault again")
        return legal

    def _states(self, rows: NDArray[Any]) -> NDArray[Any]:
        self._finite("state", rows)
        return _float32(rows)

    def _finite(self, name: str, rows: NDArray[Any]) -> None:
        if not np.isfinite(rows).all():
            raise DataError(f"{self.where}: '{name}' holds NaN or infinity; fetch the vault again")


def _float32(rows: NDArray[Any]) -> NDArray[Any]:
    return rows.astype(np.float32, copy=False)
