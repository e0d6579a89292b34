"""Reader for D4RL-style files: one table of steps of one agent, with end flags.

`observations` (T, D), `actions` (T, K), `rewards` (T,) and `terminals` (T,) are required. `timeouts` (T,) marks the
steps at which an episode was cut, and `next_observations` (T, D) holds what follows each step [D4RL, d4rl/__init__.py
and d4rl/offline_env.py]. Groups such as `infos` and `metadata` are not read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgm2p.datamodules.formats.found import REPAIR, Found, about_scale, ends_of, flat, limit_of, require_form
from vgm2p.datamodules.layout.opening import opened
from vgm2p.datamodules.layout.pieces import judged
from vgm2p.datamodules.layout.reading import require_memory
from vgm2p.datamodules.vaults.declared import Declared
from vgm2p.datamodules.vaults.numbers import Judge
from vgm2p.errors import DataError

REQUIRED = ("observations", "actions", "rewards", "terminals")
FURTHER = ("timeouts", "next_observations")
CLOSE = 1e-4  # largest difference, relative and absolute, between a next observation and the observation that follows

Arrays = dict[str, NDArray[Any]]


def read_d4rl(path: Path, declared: Declared) -> Found:
    """Return the steps of a file.

    Steps behind the last end flag form an incomplete episode. A file without `timeouts` needs a declared limit: an
    episode is then cut after so many steps, as D4RL does.

    Raises:
        DataError: if arrays are missing, damaged or contradict one another, or if the file does not say where episodes
            end. The line names the row.
        MissingInput: if the file does not exist or may not be read.
        OutOfMemory: if the arrays do not fit into memory.
    """
    arrays = _arrays(path)
    numbers = np.arange(len(arrays["rewards"]))
    terminal, cut = arrays["terminals"], arrays.get("timeouts")
    notices: list[str] = []
    if cut is None or not (terminal | cut).any():
        cut = _cuts(path, terminal, cut is None, declared.episode_limit, notices)
    if both := int((terminal & cut).sum()):
        notices.append(f"{both} steps have both end flags: taken as terminal")
    last = np.flatnonzero(terminal | cut)
    length = np.diff(last, prepend=-1)
    if tail := len(numbers) - 1 - int(last[-1]):
        notices.append(f"{tail} steps after the last end flag are kept as an incomplete episode")
        last, length = np.append(last, len(numbers) - 1), np.append(length, tail)
    limit, inferred = limit_of(path, length, declared.episode_limit)
    following = arrays.get("next_observations")
    if following is None:
        notices.append("no next_observations: the observation after the last step of an episode is not known")
    else:
        _check_following(path, arrays["observations"], following, last)
    return Found(
        observations=arrays["observations"],
        actions=arrays["actions"],
        rewards=arrays["rewards"],
        length=length,
        end=ends_of(terminal[last], length, cut[last], limit),
        finals=None if following is None else following[last],
        limit=limit,
        rows=numbers,
        notices=[*inferred, *notices, *about_scale(arrays["actions"], declared)],
    )


def _arrays(path: Path) -> Arrays:
    """Return the arrays: numbers as float32, flags as truth values. Raises as `read_d4rl`."""
    with opened(path) as file:
        there = set(file)  # names only: a link is not followed
        names = [*REQUIRED, *(name for name in FURTHER if name in there)]
        absent = [name for name in REQUIRED if name not in there]
        if absent:
            raise DataError(f"{path}: '{absent[0]}' is missing; a D4RL file holds {', '.join(REQUIRED)}")
        found = judged(path, file, names)
        steps = found["observations"].shape[0] if found["observations"].shape else 0
        for name in names:
            wide = name in ("observations", "actions", "next_observations")
            one = len(found[name].shape) == 2 and not wide
            require_form(
                path, name, found[name], "f" if wide else "fbiu", (steps, None) if wide else (steps, 1)[: 1 + one]
            )
        require_memory(path, found)
        raw = {name: dataset[...] for name, dataset in found.items()}
    if raw["observations"].shape != raw.get("next_observations", raw["observations"]).shape:
        raise DataError(f"{path}: 'next_observations' are not as wide as 'observations'; {REPAIR}")
    judge, numbers = Judge(str(path), -1, REPAIR), np.arange(steps)
    return {
        name: judge.binary(flat(rows), numbers, name)
        if name in ("terminals", "timeouts")
        else judge.float32(flat(rows) if name == "rewards" else rows, numbers, name)
        for name, rows in raw.items()
    }


def _cuts(
    path: Path, terminal: NDArray[np.bool_], absent: bool, limit: int | None, notices: list[str]
) -> NDArray[np.bool_]:
    """Return where episodes were cut (T,), if the file does not say it: after `limit` steps. Raises DataError."""
    why = "there is no 'timeouts'" if absent else f"no end flag is set in {len(terminal)} rows"
    if limit is None:
        raise DataError(f"{path}: {why}, so where episodes were cut is not known; set episode_limit=<steps>")
    notices.append(f"{why}: an episode is taken to be cut after episode_limit={limit} steps")
    ends = np.flatnonzero(terminal) + 1
    begin = np.zeros(len(terminal), np.int64)
    begin[ends[ends < len(terminal)]] = ends[ends < len(terminal)]
    steps = np.arange(len(terminal)) - np.maximum.accumulate(begin)
    cut: NDArray[np.bool_] = (steps % limit == limit - 1) & ~terminal
    if not (terminal | cut).any():
        raise DataError(f"{path}: {len(terminal)} rows are fewer than episode_limit={limit}; give a smaller one")
    return cut


def _check_following(path: Path, here: NDArray[Any], following: NDArray[Any], last: NDArray[np.int64]) -> None:
    """Check that a next observation is the observation that follows, except at the end of an episode."""
    inside = np.setdiff1d(np.arange(len(here) - 1), last)
    apart = ~np.isclose(following[inside], here[inside + 1], CLOSE, CLOSE).all(1)
    if apart.any():
        row = int(inside[apart.argmax()])
        raise DataError(
            f"{path}: 'next_observations' of row {row} is not the observation of row {row + 1}, so an end flag is "
            f"missing there; set it, or remove 'next_observations'"
        )
