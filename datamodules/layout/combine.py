"""Datasets made from other datasets: several files joined, or some episodes selected."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from vgm2p.datamodules.layout.episodes import first_rows
from vgm2p.datamodules.layout.outcomes import known_returns
from vgm2p.datamodules.layout.schema import Columns
from vgm2p.datamodules.layout.task import spec_of, stored_as
from vgm2p.errors import ConfigError, DataError

COMPARED = ("robot_observation", "observations", "state", "legal_actions")  # columns whose form must agree


def check_same_task(paths: list[Path], parts: list[Columns], view: str) -> None:
    """Raise DataError if the files record different tasks, or store them in different columns."""
    for path, part in zip(paths, parts, strict=True):
        found = [*spec_of(parts[0], view).differences(spec_of(part, view)), *_columns_differ(parts[0], part)]
        if found:
            raise DataError(f"{path} and {paths[0].name} record different tasks ({found[0]}); do not mix them")


def _columns_differ(first: Columns, other: Columns) -> list[str]:
    """Return one line for each column that training reads and that the two datasets store in different forms."""
    forms = [
        {name: part.steps[name].shape[1:] for name in COMPARED if name in part.steps} | {"view": stored_as(part)}
        for part in (first, other)
    ]
    names = [name for name in (*COMPARED, "view") if forms[0].get(name) != forms[1].get(name)]
    return [f"{name}: {forms[1].get(name)} != {forms[0].get(name)}" for name in names]


def concatenate(parts: list[Columns]) -> Columns:
    """Join datasets, episode after episode. The digest of the result is computed from the digests of the parts."""
    if len(parts) == 1:
        return parts[0]
    kept = [name for name in parts[0].steps if all(name in part.steps for part in parts)]
    steps = {name: np.concatenate([part.steps[name] for part in parts]) for name in kept}
    shared = [name for name in parts[0].episodes if all(name in part.episodes for part in parts)]
    episodes = {name: np.concatenate([part.episodes[name] for part in parts]) for name in shared}
    episodes["start"] = first_rows(episodes["rows"])
    attributes = dict(parts[0].attributes)
    attributes["name"] = "+".join(str(part.attributes["name"]) for part in parts)
    attributes["content_sha256"] = digest_of([str(part.attributes["content_sha256"]) for part in parts])
    return Columns(steps, episodes, attributes)


def best(columns: Columns, share: float) -> Any:
    """Return the sorted indices of the episodes with the highest returns, of those whose return is known.

    Args:
        columns: the dataset.
        share: fraction of these episodes, above 0 and at most 1; else ConfigError. At least one episode is returned.
    """
    if not 0.0 < share <= 1.0:
        raise ConfigError(f"data.best_share must be above 0 and at most 1, got {share}")
    known = np.flatnonzero(known_returns(columns))
    count = max(1, round(share * len(known)))
    return np.sort(known[np.argsort(-columns.episodes["return"][known], kind="stable")[:count]])


def rows_of(columns: Columns, chosen: Any) -> Any:
    """Return the row numbers of the chosen episodes."""
    start, rows = columns.episodes["start"], columns.episodes["rows"]
    return np.concatenate([np.arange(start[e], start[e] + rows[e]) for e in chosen])


def select(columns: Columns, chosen: Any) -> Columns:
    """Return the chosen episodes (sorted indices) as a dataset."""
    keep = rows_of(columns, chosen)
    steps = {name: array[keep] for name, array in columns.steps.items()}
    episodes = {name: array[chosen] for name, array in columns.episodes.items()}
    episodes["start"] = first_rows(episodes["rows"])
    parent = str(columns.attributes["content_sha256"])
    attributes = {**columns.attributes, "content_sha256": digest_of([parent, *map(str, chosen)])}
    return Columns(steps, episodes, attributes)


def digest_of(parts: list[str]) -> str:
    """Return one digest for an ordered list of digests."""
    return hashlib.sha256("+".join(parts).encode()).hexdigest()
