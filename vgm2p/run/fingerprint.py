"""What a run is: the part of its configuration that decides training, its folder, and how two runs differ."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

NOT_TRAINING = (
    "experiment",
    "updates",
    "block_updates",
    "eval_every",
    "eval_episodes",
    "eval_async",
    "eval_precision",
    "checkpoint_every",
    "checkpoint_keep",
    "evaluate",
    "eval_acting",
    "logger",
    "callbacks",
    "out",
    "resume",
    "compare",
    "label",
    "algorithm",
    "environment",
    "overrides",
)
NOT_TRAINING_TRAINER = ("accelerator", "devices", "threads", "capture", "deterministic")
NOT_TRAINING_DATA = ("root", "cache", "verify", "max_resident")
NOT_TRAINING_ENV = ("workers", "timeout")
SIZES = ("net", "optim")  # groups that an algorithm takes by interpolation
# what runs did before there were such keys
BEFORE_TRAINER = {"tf32": False}


def training_part(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what changes training or the acted policy: no intervals, folders, devices or logging."""
    part = {key: value for key, value in config.items() if key not in NOT_TRAINING}
    # an algorithm's nodes that are the run's groups count once, under the name that a user types
    part["algo"] = {key: value for key, value in part["algo"].items() if key not in SIZES or value != part.get(key)}
    part["trainer"] = _changed(_without(config.get("trainer"), NOT_TRAINING_TRAINER), BEFORE_TRAINER)
    part["data"] = _without(config.get("data"), NOT_TRAINING_DATA)
    part["env"] = _without(config.get("env"), NOT_TRAINING_ENV)
    part["data"]["source"] = _without(part["data"].get("source"), NOT_TRAINING_DATA)
    return part


def run_name(config: Mapping[str, Any]) -> str:
    """Return `s<seed>x<seeds>-<8 hex of the training part>`."""
    text = json.dumps(training_part(config), sort_keys=True, default=str)
    return f"s{config['seed']}x{config['seeds']}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return `key: old -> new` for every training key in which two configurations differ."""
    before, after = dict(leaves(training_part(old))), dict(leaves(training_part(new)))
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


def _changed(node: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in node.items() if before.get(key, ...) != value}


def _without(node: Any, keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key, value in (node or {}).items() if key not in keys}
