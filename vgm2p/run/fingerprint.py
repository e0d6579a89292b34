"""Identity of a run: the configuration keys that change training, as a folder name and as a list of differences."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

# Keys that came after runs existed -> the value with which a run trains as before. A run without the key has it.
LATER = {"data.sampling": "auto", "data.ess": None}
# Former class of an algorithm -> a key that only its nodes have (a new class has this name), and its present class.
RENAMED = {"vgm2p.algos.vgm2p_plus.VGM2PPlus": ("best_share", "vgm2p.algos.vgm2p_switches.VGM2PSwitches")}


def run_name(training: Mapping[str, Any]) -> str:
    """Return `s<seed>x<seeds>-<hash>`; the hash is 8 hex digits of the keys that change training."""
    text = json.dumps(_as_before(training), sort_keys=True, default=str)
    return f"s{training['seed']}x{training['seeds']}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return `key: old -> new` for every key that differs between the training parts of two configurations."""
    before, after = ({**LATER, **dict(leaves(_renamed(part)))} for part in (old, new))
    return [
        f"{key}: {before.get(key)} -> {after.get(key)}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]


def present(algo: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the node of an algorithm with the present name of its class."""
    key, name = RENAMED.get(str(algo.get("_target_")), ("", ""))
    return {**algo, "_target_": name} if key in algo else algo


def _renamed(training: Mapping[str, Any]) -> Mapping[str, Any]:
    algo = training.get("algo")
    return {**training, "algo": present(algo)} if isinstance(algo, Mapping) else training


def _as_before(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings without the keys of LATER that have their value there."""
    found: dict[str, Any] = {}
    for key, value in node.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping):
            found[key] = _as_before(value, f"{path}.")
        elif path not in LATER or value != LATER[path]:
            found[key] = value
    return found


def leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) for every leaf of nested mappings."""
    if not isinstance(node, Mapping):
        yield prefix, node
        return
    for key, value in node.items():
        yield from leaves(value, f"{prefix}.{key}" if prefix else str(key))
