"""From a vault's flags and rewards to episodes: which rows are steps, where episodes end, and why."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vgm2p.datamodules.layout.schema import INCOMPLETE, TERMINAL, TIMEOUT, TRUNCATION
from vgm2p.errors import DataError


@dataclass
class Flags:
    """What the first pass over a vault of T rows keeps.

    Attributes:
        terminal: (T,) whether all agents' `terminals` are set.
        truncation: (T,) whether all agents' `truncations` are set.
        reward: (T,) mean over agents.
        agent_reward: (T, N), or None where all agents are paid alike.
        idle: (T,) whether actions and rewards of all agents are zero.
    """

    terminal: NDArray[np.bool_]
    truncation: NDArray[np.bool_]
    reward: NDArray[np.float32]
    agent_reward: NDArray[np.float32] | None
    idle: NDArray[np.bool_]

    @property
    def ends(self) -> NDArray[np.int64]:
        """Rows that carry an end flag."""
        return np.flatnonzero(self.terminal | self.truncation)


@dataclass
class Episodes:
    """The episode table of a converted vault, and which of its rows are kept.

    Attributes:
        keep: (T,) rows that are steps.
        start: first kept row of each episode, counted in kept rows.
        length: steps of each episode.
        end: TERMINAL, TIMEOUT, TRUNCATION or INCOMPLETE.
        layout: `native` or `delimiter_row`, as found.
        notices: what a reader should know.
    """

    keep: NDArray[np.bool_]
    start: NDArray[np.int64]
    length: NDArray[np.int32]
    end: NDArray[np.uint8]
    layout: str
    notices: list[str] = field(default_factory=list)

    def last_rows(self, kinds: tuple[int, ...]) -> NDArray[np.int64]:
        """Return the last kept row of every episode that ended so."""
        chosen = np.isin(self.end, kinds)
        return (self.start + self.length - 1)[chosen]


def find_episodes(flags: Flags, limit: int | None, layout: str, where: str) -> Episodes:
    """Cut rows into episodes.

    Args:
        flags: what the vault's flags say.
        limit: steps after which the task cuts an episode; None: the longest episode.
        layout: `native`, `delimiter_row` (an extra flagged row of zeros ends each episode) or `auto`. What is declared
            is checked against the rows.
        where: names the vault in errors.

    Raises:
        DataError: without any complete episode, on an episode beyond the limit, or rows that contradict the layout.
    """
    ends = flags.ends
    if not len(ends):
        raise DataError(f"{where}: no row ends an episode; the vault is incomplete, fetch it again")
    begins = np.concatenate([[0], ends[:-1] + 1])
    rows = ends - begins + 1
    found = _layout(flags, rows, limit, where)
    if layout not in ("auto", found):
        raise DataError(f"{where}: declared {layout}, but its rows are {found}; correct the catalogue")
    marked = found == "delimiter_row"
    lengths = rows - 1 if marked else rows
    keep = np.ones(len(flags.reward), bool)
    if marked:
        keep[ends] = False
    tail = len(keep) - (ends[-1] + 1)
    if limit is not None and tail > limit:
        raise DataError(
            f"{where}: {tail} rows follow the last end flag, beyond the limit of {limit}; flags are missing"
        )
    limit = limit or int(lengths.max())
    end = np.where(flags.truncation[ends], TRUNCATION, np.where(lengths == limit, TIMEOUT, TERMINAL))
    empty = int((lengths == 0).sum())
    end, lengths = end[lengths > 0], lengths[lengths > 0]
    notices = [f"{empty} episodes of a marker row alone are left out"] if empty else []
    if tail:
        end, lengths = np.append(end, INCOMPLETE), np.append(lengths, tail)
        notices.append(f"{tail} rows after the last end flag are kept as an incomplete episode")
    start = np.cumsum(lengths) - lengths
    return Episodes(keep, start.astype(np.int64), lengths.astype(np.int32), end.astype(np.uint8), found, notices)


def _layout(flags: Flags, rows: NDArray[np.int64], limit: int | None, where: str) -> str:
    idle = bool(flags.idle[flags.ends].all())
    longest = int(rows.max())
    if limit is None:
        return "delimiter_row" if idle and len(rows) > 1 else "native"
    if longest > limit + 1 or (longest == limit + 1 and not idle):
        raise DataError(
            f"{where}: an episode of {longest} rows exceeds the limit of {limit}; an end flag is missing, or the limit"
        )
    if longest == limit + 1:
        return "delimiter_row"
    return "delimiter_row" if idle and len(rows) > 1 and flags.idle.sum() == len(rows) else "native"


def check_rewards(rewards: NDArray[np.floating]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Return the team reward (T,) of agents' rewards (T, N), and those rewards where they differ by more than 1e-6."""
    shared = np.abs(rewards - rewards[:, :1]).max(initial=0.0) <= 1e-6
    if shared:
        return rewards[:, 0].astype(np.float32), None
    return rewards.mean(1, dtype=np.float64).astype(np.float32), rewards.astype(np.float32)
