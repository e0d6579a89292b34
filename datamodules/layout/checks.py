"""The checks of `vgm2p data check`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from vgm2p.datamodules.layout.constant import constant_features, constant_line
from vgm2p.datamodules.layout.episodes import returns_of
from vgm2p.datamodules.layout.facts import contradictions, facts_of
from vgm2p.datamodules.layout.opening import BeingWritten
from vgm2p.datamodules.layout.reading import read
from vgm2p.datamodules.layout.rules import validate
from vgm2p.datamodules.layout.schema import Columns, content_hash
from vgm2p.datamodules.layout.writing import store
from vgm2p.errors import DataError, MissingInput, OutOfMemory


def store_checked(source: Path, target: Path, columns: Columns) -> None:
    """Validate a converted dataset, write it to `target`, then read the file back and compare.

    The dataset is judged before anything is written.

    Raises:
        DataError: if it breaks a rule of the layout (the line names `source`), or if the file reads back differently.
        StorageError: if the file cannot be written.
    """
    validate(source, columns.steps, columns.episodes, columns.attributes)
    written = store(target, columns)
    if content_hash(read(target, verify="full")) != written:
        target.unlink()
        raise DataError(f"{target}: the file read back differs from the data written; check the disk")


def intact(path: Path, say: Callable[[str], None]) -> bool:
    """Whether a converted file is whole and follows the rules, so that it need not be made again. If not, report why.

    Raises the errors that say nothing about the file: too little memory, no permission, another program writes it.
    """
    try:
        read(path, verify="full")
    except BeingWritten:
        raise
    except DataError as error:
        say(f"{error.line}; making it again")
        return False
    return True


def discard_damaged(path: Path, say: Callable[[str], None]) -> None:
    """Delete a converted file that is not `intact`, so that it is made again. Raises as `intact`."""
    if path.is_file() and not intact(path, say):
        path.unlink()


def check(path: Path) -> list[tuple[str, bool, str]]:
    """Verify a dataset in full. Return (name of the check, whether it passed, details) for every check.

    A file that is missing or cannot be read is a failed check. No error is raised.
    """
    try:
        columns = read(path, verify="full")
    except (DataError, MissingInput, OutOfMemory) as error:
        return [("file", False, error.line)]
    episodes, steps = columns.episodes, columns.steps
    count = len(episodes["start"])
    worst = float(np.abs(returns_of(steps["rewards"], episodes["start"]) - episodes["return"]).max())
    limit, longest = int(columns.attributes["episode_limit"]), int(episodes["length"].max())
    found = [
        ("file", True, f"{path.name}: layout, types, ranges and episode boundaries are good"),
        ("content", True, f"sha256 {columns.attributes['content_sha256'][:16]}... matches"),
        ("returns", True, f"largest difference to the summed rewards {worst:.2g}"),
        ("lengths", True, f"longest episode {longest}, limit {limit}"),
        ("features", True, constant_line(constant_features(columns)) or "every feature of the observations changes"),
    ]
    if wrong := contradictions(columns):
        found += [("facts", False, line) for line in wrong]
    elif facts_of(columns):
        found.append(("facts", True, "the facts of the conversion agree with the content"))
    if "state" in steps:
        still = int(facts_of(columns).get("state_still_episodes", 0))
        advice = "" if still < count else "; do not train on it: record it in every step"
        found.append(("state", still < count, f"changes within {count - still} of {count} episodes{advice}"))
    return found
