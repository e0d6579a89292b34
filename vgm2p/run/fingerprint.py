"""Identity of a run: the configuration keys that change training, as a folder name and as a list of differences."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# Keys that came after runs existed -> the value with which a run trains as before. A run without the key has it.
LATER = {"data.sampling": "uniform", "data.ess": None}
# The same keys as the user leaves them: they are no part of a name, so the names of earlier runs stay.
UNTYPED = {**LATER, "data.sampling": "auto"}


@dataclass(frozen=True)
class Change:
    """A key that differs between two configurations.

    Attributes:
        key: the dotted key.
        old: its value in the first one; None if it is not there.
        new: its value in the second one.
    """

    key: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.key}: {self.old} -> {self.new}"

    @property
    def moves_data(self) -> bool:
        """Whether it says where the data come from: equal data may lie elsewhere."""
        return self.key.startswith("data.source.")


def run_name(training: Mapping[str, Any]) -> str:
    """Return `s<seed>x<seeds>-<hash>`; the hash is 8 hex digits of the keys that change training."""
    text = json.dumps(_typed(training), sort_keys=True, default=str)
    return f"s{training['seed']}x{training['seeds']}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """Return every key that differs between the training parts of two configurations, in alphabetical order."""
    before, after = ({**LATER, **dict(leaves(_drawn(part)))} for part in (old, new))
    every = (Change(key, before.get(key), after.get(key)) for key in sorted(before.keys() | after.keys()))
    return [change for change in every if change.old != change.new]


def _drawn(training: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a training part in which `data.sampling=auto` is `uniform`, which it means where a run left it."""
    data = training.get("data")
    if not isinstance(data, Mapping) or data.get("sampling") != "auto":
        return training
    return {**training, "data": {**data, "sampling": "uniform"}}


def _typed(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings without the keys of UNTYPED that have their value there."""
    found: dict[str, Any] = {}
    for key, value in node.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping):
            found[key] = _typed(value, f"{path}.")
        elif path not in UNTYPED or value != UNTYPED[path]:
            found[key] = value
    return found


def leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) for every leaf of nested mappings."""
    if not isinstance(node, Mapping):
        yield prefix, node
        return
    for key, value in node.items():
        yield from leaves(value, f"{prefix}.{key}" if prefix else str(key))
