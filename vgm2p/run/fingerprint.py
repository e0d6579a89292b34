"""Identity of a run: the configuration keys that change training, as a folder name and as a list of differences."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

# Keys that came after runs existed -> the value with which a run trains as before. A run without the key has it.
LATER = {"data.sampling": "uniform", "data.ess": None}
# The same keys as the user leaves them: they are no part of a name, so the names of earlier runs stay.
UNTYPED = {**LATER, "data.sampling": "auto"}
PLUS = "vgm2p.algos.vgm2p_plus.VGM2PPlus"
# A key that only nodes of the former class PLUS have, and the present names of this class and of its yaml.
FORMER_KEY, FORMER_CLASS = "best_share", "vgm2p.algos.vgm2p_switches.VGM2PSwitches"
FORMER_NAMES = {"vgm2p_plus": "vgm2p_chosen"}
RENAMED = (FORMER_CLASS, PLUS)  # of a run, and of the words that continue it: its user typed a name that has changed


def run_name(training: Mapping[str, Any]) -> str:
    """Return `s<seed>x<seeds>-<hash>`; the hash is 8 hex digits of the keys that change training."""
    text = json.dumps(_typed(training), sort_keys=True, default=str)
    return f"s{training['seed']}x{training['seeds']}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return `key: old -> new` for every key that differs between the training parts of two configurations."""
    before, after = ({**LATER, **dict(leaves(_present(part)))} for part in (old, new))
    was, now = before.get("algo._target_"), after.get("algo._target_")
    renamed = ["algo: vgm2p_chosen, which had the name vgm2p_plus -> vgm2p_plus"] if (was, now) == RENAMED else []
    return renamed + [
        f"{key}: {before.get(key)} -> {after.get(key)}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]


def present(algo: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the node of an algorithm with the present name of its class."""
    return {**algo, "_target_": FORMER_CLASS} if algo.get("_target_") == PLUS and FORMER_KEY in algo else algo


def present_label(label: str, algo: Mapping[str, Any]) -> str:
    """Return the present name of an algorithm in tables, for the name and the node that an older run has stored."""
    return FORMER_NAMES.get(label, label) if present(algo) is not algo else label


def _present(training: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a training part with present names. `data.sampling=auto` is `uniform` where a run did not replace it."""
    parts = {name: training[name] for name in ("algo", "data") if isinstance(training.get(name), Mapping)}
    if "algo" in parts:
        parts["algo"] = present(parts["algo"])
    if parts.get("data", {}).get("sampling") == "auto":
        parts["data"] = {**parts["data"], "sampling": "uniform"}
    return {**training, **parts}


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
