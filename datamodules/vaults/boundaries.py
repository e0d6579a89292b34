"""Where the episodes of a vault begin and end, and how they ended, found in the vault's flags and rewards."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vgm2p.datamodules.layout.episodes import Episodes
from vgm2p.datamodules.layout.schema import INCOMPLETE, TERMINAL, TIMEOUT, TRUNCATION
from vgm2p.errors import DataError


@dataclass
class Flags:
    """What the first pass over a vault with T rows and N agents collects.

    Attributes:
        terminal: (T,) True where the `terminals` of all agents are set.
        truncation: (T,) True where the `truncations` of all agents are set.
        reward: (T,) mean reward over the agents.
        agent_reward: (T, N) reward of each agent, or None if all agents always get the same reward.
        idle: (T,) True where the actions and rewards of all agents are zero.
    """

    terminal: NDArray[np.bool_]
    truncation: NDArray[np.bool_]
    reward: NDArray[np.float32]
    agent_reward: NDArray[np.float32] | None
    idle: NDArray[np.bool_]

    @property
    def ends(self) -> NDArray[np.int64]:
        """Numbers of the rows that carry an end flag."""
        return np.flatnonzero(self.terminal | self.truncation)


@dataclass
class Boundaries:
    """Which rows of a vault are steps, and the episodes that these steps form.

    Attributes:
        keep: (T,) True for steps. The other rows are delimiters and are left out.
        episodes: the episodes; their rows are the kept rows.
        layout: `native` or `delimiter_row`, as found in the rows.
        notices: lines for the user.
    """

    keep: NDArray[np.bool_]
    episodes: Episodes
    layout: str
    notices: list[str] = field(default_factory=list)


def find_boundaries(flags: Flags, limit: int | None, layout: str, where: str) -> Boundaries:
    """Divide the rows of a vault into episodes.

    Args:
        flags: flags and rewards of the vault.
        limit: number of steps after which the task ends an episode. None: the length of the longest episode.
        layout: `native`, `delimiter_row` (each episode ends with an extra row of zeros that carries the end flag) or
            `auto`. A declared layout is compared with the rows.
        where: name of the vault for error messages.

    Raises:
        DataError: if no episode is complete, an episode is longer than the limit, or the rows contradict the layout.
    """
    ends = flags.ends
    if not len(ends):
        raise DataError(f"{where}: no row ends an episode; the vault is incomplete, fetch it again")
    begins = np.concatenate([[0], ends[:-1] + 1])
    rows = ends - begins + 1
    found = _layout(flags, rows, limit, where)
    if layout not in ("auto", found):
        raise DataError(f"{where}: declared {layout}, but its rows are {found}; correct the catalogue")
    delimited = found == "delimiter_row"
    lengths = rows - 1 if delimited else rows
    keep = np.ones(len(flags.reward), bool)
    if delimited:
        keep[ends] = False
    tail = len(keep) - (ends[-1] + 1)
    if limit is not None and tail > limit:
        raise DataError(
            f"{where}: {tail} rows follow the last end flag, more than the limit of {limit}; end flags are missing"
        )
    limit = limit or int(lengths.max())
    end = np.where(flags.truncation[ends], TRUNCATION, np.where(lengths == limit, TIMEOUT, TERMINAL))
    empty = int((lengths == 0).sum())
    end, lengths = end[lengths > 0], lengths[lengths > 0]
    notices = [f"{empty} episodes of a delimiter row alone are left out"] if empty else []
    if tail:
        end, lengths = np.append(end, INCOMPLETE), np.append(lengths, tail)
        notices.append(f"{tail} rows after the last end flag are kept as an incomplete episode")
    return Boundaries(keep, Episodes(lengths, end, finals=False), found, notices)


def _layout(flags: Flags, rows: NDArray[np.int64], limit: int | None, where: str) -> str:
    idle = bool(flags.idle[flags.ends].all())
    longest = int(rows.max())
    if limit is None:
        return "delimiter_row" if idle and len(rows) > 1 else "native"
    if longest > limit + 1 or (longest == limit + 1 and not idle):
        raise DataError(
            f"{where}: an episode of {longest} rows exceeds the limit of {limit}; "
            "an end flag is missing, or the limit is wrong"
        )
    if longest == limit + 1:
        return "delimiter_row"
    return "delimiter_row" if idle and len(rows) > 1 and flags.idle.sum() == len(rows) else "native"


def split_rewards(rewards: NDArray[np.floating]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Return the team reward (T,) of the agents' rewards (T, N), and the agents' own rewards (T, N).

    If the rewards of the agents never differ by more than 1e-6, the second result is None.
    """
    shared = np.abs(rewards - rewards[:, :1]).max(initial=0.0) <= 1e-6
    if shared:
        return rewards[:, 0].astype(np.float32), None
    return rewards.mean(1, dtype=np.float64).astype(np.float32), rewards.astype(np.float32)
