"""Where the episodes of a vault begin and end, and how they ended, found in the vault's flags and rewards."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vgm2p.datamodules.layout.episodes import Episodes
from vgm2p.datamodules.layout.schema import INCOMPLETE, TERMINAL, TIMEOUT, TRUNCATION
from vgm2p.datamodules.vaults.declared import Declared
from vgm2p.errors import DataError


@dataclass
class Flags:
    """What the first pass over a vault with T rows and N agents collects.

    Attributes:
        terminal: (T, N) True where an agent is terminated. (T, 1) if the vault has one flag for all agents.
        truncation: (T, N) True where an agent is truncated. (T, 1) as above.
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
        """Numbers of the rows in which every agent is terminated or truncated."""
        return np.flatnonzero((self.terminal | self.truncation).all(1))

    @property
    def partly(self) -> NDArray[np.int64]:
        """Numbers of the rows in which some agents are terminated or truncated, but not all."""
        flagged = self.terminal | self.truncation
        return np.flatnonzero(flagged.any(1) & ~flagged.all(1))

    @property
    def idle_begins(self) -> NDArray[np.int64]:
        """Numbers of the rows behind an end in which no agent acts, gets a reward, or is terminated or truncated."""
        begins = self.ends + 1
        begins = begins[begins < len(self.idle)]
        found: NDArray[np.int64] = begins[self.idle[begins] & ~(self.terminal | self.truncation)[begins].any(1)]
        return found

    def mixed(self, ends: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether, in each of the rows `ends`, some agents are terminated and the others are truncated."""
        return np.logical_not(self.truncation[ends].all(1) | self.terminal[ends].all(1))

    def truncated(self, ends: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether the episodes that end in the rows `ends` were cut, for all agents or for some."""
        found: NDArray[np.bool_] = self.truncation[ends].all(1) | self.mixed(ends)
        return found


@dataclass
class Boundaries:
    """Which rows of a vault are steps, and the episodes that these steps form.

    Attributes:
        keep: (T,) True for steps. The other rows are delimiters and are left out.
        episodes: the episodes; their rows are the kept rows.
        layout: `native` or `delimiter_row`.
        limit: number of steps after which the task ends an episode.
        notices: lines for the user: what was inferred, and what was counted.
    """

    keep: NDArray[np.bool_]
    episodes: Episodes
    layout: str
    limit: int
    notices: list[str] = field(default_factory=list)


def find_boundaries(flags: Flags, declared: Declared, where: str, published: bool = False) -> Boundaries:
    """Divide the rows of a vault into episodes. An episode ends where every agent is terminated or truncated.

    If no row of the user's own vault ends an episode, the limit that the user declares is the length of every episode.

    Args:
        flags: flags and rewards of the vault.
        declared: limit and layout.
        where: name of the vault for error messages.
        published: whether limit and layout come from the catalogue, and the vault can be fetched again.

    Raises:
        DataError: if no episode is complete, an episode is longer than the limit, or the rows contradict the layout.
    """
    rows, limit = len(flags.reward), declared.episode_limit
    ends, cut, notices = _ends(flags, declared, where, published)
    begins = np.concatenate([[0], ends[:-1] + 1])
    spans = ends - begins + 1
    layout = "native" if cut else _layout(flags, ends, spans, declared, where, published)
    delimited = layout == "delimiter_row"
    lengths = spans - 1 if delimited else spans
    keep = np.ones(rows, bool)
    if delimited:
        keep[ends] = False
    notices.append(_about_layout(flags, ends, layout, cut))
    tail = rows - (int(ends[-1]) + 1)
    if limit is not None and tail > limit:
        raise DataError(
            f"{where}: {tail} rows follow the last end flag, more than the limit of {limit}; end flags are missing, "
            "or the limit is wrong"
        )
    if limit is None:
        limit = max(int(lengths.max()), tail)
        notices.append(f"episode_limit is taken to be {limit}, the length of the longest episode")
    end = np.where(flags.truncated(ends) & (not cut), TRUNCATION, np.where(lengths == limit, TIMEOUT, TERMINAL))
    empty = int((lengths == 0).sum())
    end, lengths = end[lengths > 0], lengths[lengths > 0]
    if empty:
        notices.append(f"{empty} episodes of a delimiter row alone are left out")
    if padding := int(flags.idle[ends[1:]][spans[1:] == 1].sum()) if not delimited else 0:
        notices.append(f"{padding} episodes are a single step of zeros behind another end; leave out rows of padding")
    if tail:
        end, lengths = np.append(end, INCOMPLETE), np.append(lengths, tail)
        notices.append(f"{tail} rows after the last end flag are kept as an incomplete episode")
    if (end == INCOMPLETE).all():
        raise DataError(f"{where}: no episode of at least one step is complete; record more rows")
    return Boundaries(keep, Episodes(lengths, end, finals=False), layout, limit, notices)


def _ends(flags: Flags, declared: Declared, where: str, published: bool) -> tuple[NDArray[np.int64], bool, list[str]]:
    """Return the last rows of the episodes, whether they follow from the limit alone, and lines for the user."""
    rows, limit, notices, partly = len(flags.reward), declared.episode_limit, [], len(flags.partly)
    if partly:
        notices.append(
            f"{partly} rows have an end flag for some agents only; an episode ends where every agent has one"
        )
    if len(ends := flags.ends):
        if mixed := int(flags.mixed(ends).sum()):
            notices.append(
                f"{mixed} episodes end with some agents terminated, the others truncated: taken as truncated"
            )
        return ends, False, notices
    if published or limit is None or declared.layout == "delimiter_row":
        some = f" ({partly} rows have some)" if partly else ""
        steps = ["set episode_limit=<steps> (fit: data.source.episode_limit=)"] if limit is None else []
        native = [_other("native", published)] if declared.layout == "delimiter_row" else []
        remedy = "fetch the vault again" if published else ", and ".join([*steps, *native])
        raise DataError(f"{where}: no end flag is set for all agents in any of {rows} rows{some}; {remedy}")
    ends = np.arange(limit - 1, rows, limit)
    if not len(ends):
        raise DataError(f"{where}: no end flag in {rows} rows, fewer than episode_limit={limit}; give a smaller one")
    notices.append(f"no row has end flags for all agents; every episode is taken to have episode_limit={limit} steps")
    return ends, True, notices


def _layout(
    flags: Flags, ends: NDArray[np.int64], spans: NDArray[np.int64], declared: Declared, where: str, published: bool
) -> str:
    """Return the layout: the declared one, if the rows do not contradict it. Raises DataError if they do."""
    limit, layout = declared.episode_limit, declared.layout
    busy, longest = ends[~flags.idle[ends]], int(spans.max())
    proven = limit is not None and longest == limit + 1 and not len(busy)
    if layout == "auto":
        layout = "delimiter_row" if proven else "native"
    if layout == "delimiter_row" and len(busy):
        raise DataError(
            f"{where}: declared delimiter_row, but its rows are native: row {busy[0]} has an end flag, "
            f"but its actions or rewards are not zero; {_other('native', published)}"
        )
    if limit is not None and layout == "native" and proven:
        raise DataError(
            f"{where}: declared native, but its rows are delimiter_row: {longest} rows for {limit} steps, the last "
            f"with zeros; {_other('delimiter_row', published)}"
        )
    if limit is not None and longest > limit + (layout == "delimiter_row"):
        raise DataError(
            f"{where}: an episode of {longest} rows (to row {ends[int(spans.argmax())]}) exceeds the limit of {limit}; "
            "an end flag is missing, or the limit is wrong"
        )
    return layout


def _other(layout: str, published: bool) -> str:
    return "correct the catalogue" if published else f"set layout={layout} (fit: data.source.layout={layout})"


def _about_layout(flags: Flags, ends: NDArray[np.int64], layout: str, cut: bool) -> str:
    if layout == "delimiter_row":
        return f"layout delimiter_row: {len(ends)} rows of zeros between episodes are dropped"
    doubt = not cut and len(ends) > 1 and bool(flags.idle[ends].all())
    return "layout native: every row is a step" + (
        f"; all {len(ends)} end rows hold zero actions and rewards: if they are no steps, set layout=delimiter_row"
        if doubt
        else ""
    )


def split_rewards(rewards: NDArray[np.floating]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Return the team reward (T,) of the agents' rewards (T, N), and the agents' own rewards (T, N).

    If the rewards of the agents never differ by more than 1e-6, the second result is None.
    """
    if rewards.dtype.kind != "f":
        rewards = rewards.astype(np.float64)  # differences of small unsigned numbers would wrap around
    shared = np.abs(rewards - rewards[:, :1]).max(initial=0.0) <= 1e-6
    if shared:
        return rewards[:, 0].astype(np.float32), None
    return rewards.mean(1, dtype=np.float64).astype(np.float32), rewards.astype(np.float32)
