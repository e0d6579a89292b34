"""What a conversion found out about a dataset (attribute `facts`), and whether the content agrees with it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgm2p.datamodules.layout.episodes import figures
from vgm2p.datamodules.layout.numbers import SLACK
from vgm2p.datamodules.layout.schema import Columns


def facts_of(columns: Columns) -> dict[str, Any]:
    """Return the facts of a dataset. A file that was not converted from a vault has none."""
    found: dict[str, Any] = json.loads(columns.attributes.get("facts", "{}"))
    return found


def outside(actions: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which continuous actions lie outside [-1, 1], so that training clips them."""
    found: NDArray[np.bool_] = np.abs(actions) > 1.0 + SLACK
    return found


def contradictions(columns: Columns) -> list[str]:
    """Return one line for each fact that the content of the dataset contradicts."""
    facts, steps, episodes = facts_of(columns), columns.steps, columns.episodes
    lines = []

    def compare(name: str, found: float) -> None:
        known = facts.get(name)
        if known is not None and not np.isclose(known, found, rtol=1e-6, atol=1e-9):
            lines.append(f"{name} is {found:.6g}, the facts say {known:.6g}; convert it again")

    for name, value in figures(episodes).items():
        compare(name, value)
    if "delimiter_rows" in facts:
        compare("vault_rows", int(steps["has_action"].sum()) + facts["delimiter_rows"])
        if (columns.attributes.get("layout") == "delimiter_row") != (facts["delimiter_rows"] > 0):
            dropped = f"but {facts['delimiter_rows']} rows were dropped"
            lines.append(f"layout {columns.attributes.get('layout')}, {dropped}; convert it again")
    if not columns.attributes["discrete"]:
        actions = steps["actions"][steps["has_action"].astype(bool)]
        compare("clipped_share", float(outside(actions).mean()))
        compare("action_limit", max(1.0, float(np.abs(actions).max(initial=0.0))))
    return lines
