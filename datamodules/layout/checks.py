"""The checks of `vgm2p data check`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from vgm2p.datamodules.layout.episodes import returns_of
from vgm2p.datamodules.layout.reading import read
from vgm2p.datamodules.layout.schema import content_hash
from vgm2p.errors import DataError, MissingInput

TOLERANCE = 1e-3  # largest allowed difference between a stored return and the sum of the rewards


def check(path: Path) -> list[tuple[str, bool, str]]:
    """Verify a dataset in full. Return (name of the check, whether it passed, details) for every check.

    A file that is missing or cannot be read is a failed check. No error is raised.
    """
    try:
        columns = read(path, verify="full")
    except (DataError, MissingInput) as error:
        return [("file", False, error.line)]
    episodes, steps = columns.episodes, columns.steps
    count = len(episodes["start"])
    worst = float(np.abs(returns_of(steps["rewards"], episodes["start"]) - episodes["return"]).max())
    limit = int(columns.attributes["episode_limit"])
    longest = int(episodes["length"].max())
    found = [
        ("file", True, f"{path.name}: layout, types, ranges and episode boundaries are good"),
        ("content", True, f"sha256 {content_hash(columns)[:16]}... matches"),
        ("returns", worst < TOLERANCE, f"largest difference to the summed rewards {worst:.2g}"),
        ("lengths", longest <= limit, f"longest episode {longest}, limit {limit}"),
    ]
    if "state" in steps:
        still = int(json.loads(columns.attributes.get("facts", "{}")).get("state_still_episodes", 0))
        found.append(("state", still < count, f"changes within {count - still} of {count} episodes"))
    return found
