"""The rules that join the two tables of our layout: boundaries, lengths, flags, ends, returns and limits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgm2p.datamodules.layout.attributes import broken, parsed
from vgm2p.datamodules.layout.episodes import returns_of
from vgm2p.datamodules.layout.numbers import first_place
from vgm2p.datamodules.layout.schema import INCOMPLETE, TERMINAL, TIMEOUT, TRUNCATION

ABSOLUTE, RELATIVE = 1e-3, 1e-5  # largest difference of a return: ABSOLUTE + RELATIVE * sum of |reward|

Table = Mapping[str, NDArray[Any]]


def check_episodes(path: Path, steps: Table, episodes: Table, attributes: Mapping[str, Any]) -> None:
    """Check that the episodes follow one another and agree with the steps and the attributes.

    The narrow columns are read: t, has_action, terminal, timeout, rewards. Raises DataError, which names the first
    defect, and its row or episode.
    """
    start, rows, length = (episodes[name].astype(np.int64) for name in ("start", "rows", "length"))
    total = len(steps["t"])
    ends = start + rows
    if start[0] != 0 or ends[-1] != total or (ends[:-1] != start[1:]).any() or (rows < 1).any():
        raise broken(path, "the episode boundaries do not cover all rows in order")
    counted = np.arange(total) - np.repeat(start, rows)
    if (counted != steps["t"]).any():
        where = first_place(counted != steps["t"])
        raise broken(path, f"step numbers (t) do not restart at episode boundaries, first in {where}")
    acting = counted < np.repeat(length, rows)
    if (rows - length > 1).any() or (length > rows).any() or (steps["has_action"] != acting).any():
        wrong = np.repeat((rows - length > 1) | (length > rows), rows) | (steps["has_action"] != acting)
        raise broken(path, f"episode lengths do not agree with has_action, first in {first_place(wrong)}")
    if not acting.any():
        raise broken(path, "no row has an action")
    idle = (steps["rewards"] != 0) & ~acting
    if idle.any():
        raise broken(path, f"a final observation holds a reward, first in {first_place(idle)}")
    _check_flags(path, steps, start + length - 1, length, episodes["end"])
    check_returns(path, steps["rewards"], start, episodes["return"])
    limit, longest = int(attributes["episode_limit"]), int(length.argmax())
    if length[longest] > limit:
        raise broken(path, f"episode {longest} has {length[longest]} steps, the attribute episode_limit is {limit}")
    _check_behaviours(path, episodes, attributes)


def check_returns(path: Path, rewards: NDArray[Any], start: NDArray[Any], returns: NDArray[Any]) -> None:
    """Check returns (E,) against the sums of rewards (R,) of episodes that begin in rows `start`. Raises DataError."""
    sums, sizes = returns_of(rewards, start), returns_of(np.abs(rewards), start)
    good = np.abs(sums - returns) <= ABSOLUTE + RELATIVE * sizes  # False for NaN
    if not good.all():
        episode = int(np.flatnonzero(~good)[0])
        raise broken(
            path, f"the return of episode {episode} is {returns[episode]:.6g}, its rewards sum to {sums[episode]:.6g}"
        )


def _check_flags(path: Path, steps: Table, last: NDArray[Any], length: NDArray[Any], end: NDArray[Any]) -> None:
    """Check that only the last step of an episode carries a flag, the one that its `end` requires."""
    if end.max() > INCOMPLETE:
        episode = int(np.flatnonzero(end > INCOMPLETE)[0])
        raise broken(path, f"the end of episode {episode} is {end[episode]}, not one of 0 to {INCOMPLETE}")
    for name, kinds in (("terminal", (TERMINAL,)), ("timeout", (TIMEOUT, TRUNCATION))):
        wanted = np.zeros(len(steps[name]), np.uint8)
        wanted[last[np.isin(end, kinds) & (length > 0)]] = 1
        wrong = steps[name] != wanted
        if not wrong.any():
            continue
        row = int(np.flatnonzero(wrong)[0])
        episode = int(np.searchsorted(last, row))
        if row not in last:
            raise broken(path, f"an end flag is inside an episode: '{name}' is {steps[name][row]} in row {row}")
        raise broken(
            path, f"'{name}' is {steps[name][row]} in row {row}, but the end of episode {episode} is {end[episode]}"
        )


def _check_behaviours(path: Path, episodes: Table, attributes: Mapping[str, Any]) -> None:
    """Check that the column `behaviour` counts in the attribute `behaviours`. An empty list says nothing."""
    if "behaviour" not in episodes or "behaviours" not in attributes:
        return
    known, found = len(parsed(path, attributes, "behaviours")), episodes["behaviour"]
    wrong = (found < 0) | (found >= known)
    if known and wrong.any():
        episode = int(np.flatnonzero(wrong)[0])
        raise broken(path, f"episode {episode} has behaviour {found[episode]}, the attribute 'behaviours' has {known}")
