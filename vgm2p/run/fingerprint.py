"""What a run is: the keys of its configuration that decide training, as a folder's name and as differences."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any


def run_name(training: Mapping[str, Any]) -> str:
    """Return `s<seed>x<seeds>-<8 hex of the keys that change training>`."""
    text = json.dumps(training, sort_keys=True, default=str)
    return f"s{training['seed']}x{training['seeds']}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return `key: old -> new` for every key in which the training parts of two configurations differ."""
    before, after = dict(leaves(old)), dict(leaves(new))
    return [
        f"{key}: {before.get(key)} -> {after.get(key)}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]


def leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) for every leaf of nested mappings."""
    if not isinstance(node, Mapping):
        yield prefix, node
        return
    for key, value in node.items():
        yield from leaves(value, f"{prefix}.{key}" if prefix else str(key))
