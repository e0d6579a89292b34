"""Rules for the wide leaves of a vault: which column a leaf fills, how it is converted, how its numbers are checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgm2p.datamodules.layout.episodes import Episodes
from vgm2p.datamodules.vaults.clipped import Clipped
from vgm2p.datamodules.vaults.contents import LEGALS, STATE, Contents
from vgm2p.datamodules.vaults.declared import Declared
from vgm2p.datamodules.vaults.numbers import Judge
from vgm2p.datamodules.vaults.state import StateCheck, notices
from vgm2p.datamodules.vaults.vault import Vault
from vgm2p.errors import DataError

RECOVERY = 1e-3  # largest difference between z-scored vectors and vectors rebuilt from the recovered observation
PIECE_ROWS = 4096  # number of rows rebuilt at once


def accept(rows: NDArray[Any]) -> None:
    """Accept all rows. For leaves that need no check beyond the one in their rule."""


def rebuilding_error(rows: NDArray[np.float32], agents: int) -> float:
    """Return the largest difference between rows (R, N, O) and z-scored vectors with one-hots rebuilt from them.

    It is infinite for rows that cannot be such vectors.
    """
    from vgm2p.envs.observation import recovery_error  # here, because torch is slow to import

    pieces = range(0, len(rows), PIECE_ROWS)
    errors = [recovery_error(rows[start : start + PIECE_ROWS], agents) for start in pieces]
    return float(np.nan_to_num(errors, nan=np.inf).max(initial=0.0))


def nothing() -> None:
    """Do nothing. For leaves whose rows are judged one slab at a time only."""


@dataclass
class LeafRule:
    """How one wide leaf is converted.

    Attributes:
        leaf: name of the leaf in the vault.
        column: name of the step column that it fills.
        dtype: type of the column.
        shape: shape of one row of the column.
        rule: function (rows of the leaf, their numbers in the vault) -> rows of the column. It is called slab after
            slab, and raises DataError for numbers that the column cannot hold.
        judge: function that checks rows of the column, slab after slab, in a thread. It raises DataError.
        at_end: function that is called after the last slab. It raises DataError.
    """

    leaf: str
    column: str
    dtype: str
    shape: tuple[int, ...]
    rule: Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]
    judge: Callable[[NDArray[Any]], None] = accept
    at_end: Callable[[], None] = nothing


class LeafRules:
    """Rules for the wide leaves of one vault, and the facts that they collect.

    Args:
        vault: the vault.
        contents: what it contains.
        declared: what is declared about it.
        zscored: whether an observation is the robot's vector and the agent's one-hot, z-scored per vector.
        suspects: numbers of the rows that are padding if their observations are zeros.
    """

    def __init__(
        self,
        vault: Vault,
        contents: Contents,
        declared: Declared,
        zscored: bool,
        suspects: NDArray[np.int64] | None = None,
    ) -> None:
        self.vault, self.contents, self.declared, self.zscored = vault, contents, declared, zscored
        self.where, self.agents = str(vault.folder), contents.agents
        self.judge = Judge(self.where, self.agents, vault.repair)
        self._acted: list[NDArray[np.int16]] = []
        self._suspects, self._blank = suspects, 0  # `_blank`: number of suspects with zeros only
        self._padding: NDArray[np.bool_] | None = None
        self._facts: dict[str, Any] = {}
        self._state = StateCheck()
        self._clipped = Clipped()

    def columns(self) -> list[LeafRule]:
        """Return the rules in the order of their use: actions come first, then the legal masks that must allow them."""
        leaves, width = self.vault.leaves, self.contents.width
        found = []
        if self.contents.discrete:
            found.append(LeafRule("actions", "actions", "<i2", (self.agents,), self._indices))
            found.append(LeafRule(LEGALS, "legal_actions", "|u1", leaves[LEGALS].shape, self._legals))
        else:
            shape = (self.agents, width)
            found.append(LeafRule("actions", "actions", "<f4", shape, self._vectors, at_end=self._judge_share))
        judge = self._recover if self.zscored else accept
        observed = leaves["observations"].shape
        found.append(LeafRule("observations", "observations", "<f4", observed, self._observations, judge))
        if STATE in leaves:
            found.append(LeafRule(STATE, "state", "<f4", leaves[STATE].shape, self._states, self._state.add))
        return found

    def facts(self, episodes: Episodes) -> dict[str, Any]:
        """Return the facts found. Call this after all columns are converted."""
        return self._facts | self._state.facts(episodes.start, episodes.length)

    def notices(self, episodes: Episodes) -> list[str]:
        """Return lines for the user. Call this after all columns are converted."""
        leaf = self.vault.leaves.get(STATE)
        entries = int(np.prod(leaf.shape)) if leaf else 0
        lines = notices(self.facts(episodes), entries, len(episodes.length))
        if stuck := self._facts.get("rows_without_legal_action", 0):
            lines.append(f"in {stuck} cases an agent has no legal action; action 0 is taken to be legal there")
        if valid := self._facts.get("obs_valid"):
            lines.append(f"-inf in observations is padding and becomes 0; the agents have {valid} real entries")
        if self._blank:
            lines.append(
                f"{self._blank} episodes begin with a row of zeros, taken as a step; leave out rows of padding"
            )
        return lines + self._clipped.notices(self.declared)

    def _observations(self, rows: NDArray[Any], numbers: NDArray[Any]) -> NDArray[np.float32]:
        if self._suspects is not None and len(self._suspects):
            self._blank += int((~rows[np.isin(numbers, self._suspects)].any((1, 2))).sum())
        if rows.dtype.kind != "f":
            return self.judge.float32(rows, numbers, "observations")
        if self._padding is None:  # omar/mpe pads shorter vectors with -inf, at the same entries in every row
            self._padding = np.isneginf(rows[0])
            if self._padding.any():
                self._facts["obs_valid"] = (~self._padding).sum(-1).tolist()
        if self._padding.any() or not np.isfinite(rows).all():
            padded = np.isneginf(rows)
            broken = np.argwhere(padded != self._padding)
            if len(broken):
                row, agent, _ = broken[0]
                raise DataError(
                    f"{self.where}: -inf is in the observations of some rows only, first in row {numbers[row]}, "
                    f"agent {agent}; {self.vault.repair}"
                )
            rows = np.where(padded, rows.dtype.type(0), rows)
        return self.judge.float32(rows, numbers, "observations")

    def _recover(self, rows: NDArray[np.float32]) -> None:
        error = rebuilding_error(rows, self.agents)
        if not error <= RECOVERY:
            raise DataError(f"{self.where}: observations are not z-scored vectors with one-hots; correct the catalogue")
        self._facts["recovery_error"] = max(error, self._facts.get("recovery_error", 0.0))

    def _indices(self, rows: NDArray[Any], numbers: NDArray[Any]) -> NDArray[np.int16]:
        judge = self.judge
        if rows.dtype.kind == "f" and self.declared.discrete is None:
            repair = f"{judge.repair}, or set discrete=false"
            judge = Judge(self.where, self.agents, repair)
        chosen = judge.indices(rows.reshape(len(rows), self.agents), numbers, "actions", self.contents.width)
        self._acted.append(chosen)
        return chosen

    def _vectors(self, rows: NDArray[Any], numbers: NDArray[Any]) -> NDArray[np.float32]:
        rows = rows.reshape(len(rows), self.agents, self.contents.width)
        if self.declared.action_scale is not None:
            self.judge.float32(rows, numbers, "actions")
            rows = rows.astype(np.float64) / self.declared.action_scale
        narrow = self.judge.float32(rows, numbers, "actions")
        self._clipped.add(narrow, numbers)
        return narrow

    def _judge_share(self) -> None:
        """Raise DataError if many actions lie outside [-1, 1] and nothing says what this means."""
        self._facts |= self._clipped.facts(self.declared)
        self._clipped.require_declared(self.where, self.declared, " (fit: data.source.clip=)")

    def _legals(self, rows: NDArray[Any], numbers: NDArray[Any]) -> NDArray[np.uint8]:
        legal = self.judge.binary(rows, numbers, LEGALS).astype(np.uint8)
        stuck = ~legal.any(-1)
        if stuck.any():
            self._facts["rows_without_legal_action"] = int(stuck.sum()) + self._facts.get(
                "rows_without_legal_action", 0
            )
            legal[..., 0] |= stuck
        if len(self._acted) > 1:
            self._acted = [np.concatenate(self._acted)]
        acted, self._acted = self._acted[0][: len(legal)], [self._acted[0][len(legal) :]]
        played = np.take_along_axis(legal, acted[..., None].astype(np.int64), -1)[..., 0]
        self.judge.require(played != 0, acted, numbers, "actions", "which is not legal there")
        return legal

    def _states(self, rows: NDArray[Any], numbers: NDArray[Any]) -> NDArray[np.float32]:
        return self.judge.float32(rows, numbers, STATE)
