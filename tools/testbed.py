"""Datasets on which a draw by return should fail, made from a recording: to see where its limits are.

    python -m tools.testbed <dataset.h5> <folder>

Writes one file per case. The returns in the simulator stay what they are, because only what was recorded changes:

- luck: every episode has a bonus of its own, the same at all steps. Its deviation is that of the returns, so half of
  the variance of the new returns is luck.
- sparse: 1 at the last step of an episode with a return above the median, else nothing.
- few: twelve episodes, drawn at random.
- alike: the episodes of the behaviour policy whose returns differ least, in proportion to their mean.
- two: the episodes of two behaviour policies that act differently, with rewards shifted such that both have the same
  mean return. The numbers of the policies are those of the HalfCheetah medium-replay recording.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vgm2p.datamodules.layout.combine import select
from vgm2p.datamodules.layout.episodes import returns_of
from vgm2p.datamodules.layout.reading import read
from vgm2p.datamodules.layout.schema import Columns
from vgm2p.datamodules.layout.writing import write
from vgm2p.errors import ConfigError, UserError

FEW = 12
FEWEST = 5  # episodes of a behaviour policy
TWO = (3, 8)  # about 1700 and 2250; the recording's own agent, and its expert with noise
SEED = 0


def luck(columns: Columns) -> Columns:
    """Add a bonus to each episode: normal, independent of what was done, with the deviation of the returns."""
    episodes = columns.episodes
    bonus = np.random.default_rng(SEED).normal(scale=episodes["return"].std(), size=len(episodes["return"]))
    per_step = np.repeat(bonus / episodes["length"], episodes["rows"]) * columns.steps["has_action"]
    return _with_rewards(columns, columns.steps["rewards"] + per_step)


def sparse(columns: Columns) -> Columns:
    """Give 1 at the end of the better half of the episodes, 0 else."""
    episodes = columns.episodes
    rewards = np.zeros(len(columns.steps["rewards"]))
    last = episodes["start"] + episodes["length"] - 1
    rewards[last] = episodes["return"] > np.median(episodes["return"])
    return _with_rewards(columns, rewards)


def few(columns: Columns) -> Columns:
    """Keep a few episodes."""
    count = len(columns.episodes["return"])
    if count < FEW:
        raise ConfigError(f"the dataset has fewer than {FEW} episodes")
    found = np.random.default_rng(SEED).choice(count, FEW, replace=False)
    return select(columns, np.sort(found))


def alike(columns: Columns) -> Columns:
    """Keep the behaviour policy whose returns are most alike."""
    behaviour, returns = columns.episodes["behaviour"], columns.episodes["return"]
    numbers, counts = np.unique(behaviour, return_counts=True)
    if not (counts >= FEWEST).any():
        raise ConfigError(f"no behaviour policy of the dataset has {FEWEST} episodes")
    spread = {
        one: np.std(found) / abs(np.mean(found))
        for one in numbers[counts >= FEWEST]
        for found in [returns[behaviour == one]]
    }
    return select(columns, np.flatnonzero(behaviour == min(spread, key=lambda one: spread[one])))


def two(columns: Columns) -> Columns:
    """Keep two behaviour policies, and make their mean returns equal."""
    if not set(TWO) <= set(columns.episodes["behaviour"].tolist()):
        raise ConfigError(f"the dataset lacks the behaviour policies {TWO}")
    both = select(columns, np.flatnonzero(np.isin(columns.episodes["behaviour"], TWO)))
    behaviour, returns, length = (both.episodes[name] for name in ("behaviour", "return", "length"))
    shift = np.zeros(len(returns))
    for one in TWO:
        shift[behaviour == one] = returns.mean() - returns[behaviour == one].mean()
    per_step = np.repeat(shift / length, both.episodes["rows"]) * both.steps["has_action"]
    return _with_rewards(both, both.steps["rewards"] + per_step)


CASES: dict[str, Callable[[Columns], Columns]] = {
    "luck": luck,
    "sparse": sparse,
    "few": few,
    "alike": alike,
    "two": two,
}


def _with_rewards(columns: Columns, rewards: NDArray[np.floating]) -> Columns:
    """Return a copy with other rewards (rows,)."""
    stored = rewards.astype(columns.steps["rewards"].dtype)
    returns = returns_of(stored, columns.episodes["start"]).astype(columns.episodes["return"].dtype)
    return Columns(columns.steps | {"rewards": stored}, columns.episodes | {"return": returns}, columns.attributes)


def main(source: Path, folder: Path) -> None:
    """Write every case that the dataset allows, and print its returns. Episodes without a step are left out."""
    whole = read(source)
    columns = select(whole, np.flatnonzero(whole.episodes["length"] > 0))
    folder.mkdir(parents=True, exist_ok=True)
    for name, case in CASES.items():
        try:
            made = case(columns)
        except UserError as error:
            print(f"left out {name}: {error.line}", file=sys.stderr)
            continue
        attributes = {key: value for key, value in made.attributes.items() if key != "content_sha256"}
        attributes["name"] = f"{columns.attributes['name']}_{name}"
        path = folder / f"{attributes['name']}.h5"
        write(path, Columns(made.steps, made.episodes, attributes))
        returns = made.episodes["return"]
        print(f"{path}: {len(returns)} episodes, return {returns.mean():.4g} +- {returns.std():.4g}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tools.testbed")
    parser.add_argument("dataset", type=Path)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    try:
        main(options.dataset, options.folder)
    except (UserError, OSError) as error:
        sys.exit(f"testbed: {error.line if isinstance(error, UserError) else error}")
