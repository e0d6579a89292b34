"""Whether a checkpoint belongs to a run: same settings, task and seeds, and the tensors of the run's algorithm."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from vgm2p.algos.contract import Algorithm

PREFIX = "algorithm."  # of the algorithm's tensors in a checkpoint's `state_dict`


def misfit(
    content: Mapping[str, Any],
    update: int,
    algorithm: Algorithm,
    changes: Callable[[Mapping[str, Any]], list[str]],
) -> str | None:
    """Return why a checkpoint does not belong to a run; None if it does.

    Args:
        content: the content of the checkpoint.
        update: number of updates in its file name.
        algorithm: the run's algorithm, with any weights.
        changes: maps a stored configuration to the settings that differ now, one line each.
    """
    ours, state = content["vgm2p"], content.get("state_dict")
    config = ours.get("config")
    if not isinstance(config, Mapping) or not isinstance(state, Mapping):
        return "it has no configuration or no weights"
    changed = changes(config)
    if changed:
        return changed[0]
    if ours.get("seeds") != list(algorithm.seeds):
        return f"seeds {ours.get('seeds')}, not {list(algorithm.seeds)}"
    if ours.get("spec") != algorithm.spec.to_dict():
        return "another task"
    counter = state.get("updates")
    if ours.get("updates") != update or not isinstance(counter, Tensor) or int(counter.sum()) != update:
        return f"it does not hold {update} updates"
    return _other_weights(state, algorithm) or _other_moments(content, algorithm) or _other_window(ours, algorithm)


def _other_weights(state: Mapping[str, Any], algorithm: Algorithm) -> str | None:
    mine = {PREFIX + name: value for name, value in algorithm.state_dict().items()}
    theirs = {name: value for name, value in state.items() if name != "updates"}
    return _difference(theirs, mine)


def _other_moments(content: Mapping[str, Any], algorithm: Algorithm) -> str | None:
    states = content.get("optimizer_states")
    mine = algorithm.optimisers
    if not isinstance(states, list) or len(states) != len(mine):
        return "other optimisers"
    for (name, optimiser), found in zip(mine.items(), states, strict=True):
        expected = optimiser.state_dict()
        entries = found.get("state") if isinstance(found, Mapping) else None
        if not isinstance(entries, Mapping) or entries.keys() != expected["state"].keys():
            return f"optimiser {name} has no moments, or those of another network"
        for index, entry in expected["state"].items():
            reason = _difference(entries[index], entry)
            if reason:
                return f"optimiser {name}, parameter {index}: {reason}"
    return None


def _other_window(ours: Mapping[str, Any], algorithm: Algorithm) -> str | None:
    """Check the sums of diagnostics since the last log, and when seeds froze."""
    window, count, froze = ours.get("window"), ours.get("window_count"), ours.get("froze")
    if not isinstance(window, Mapping) or not isinstance(froze, Mapping) or not isinstance(count, int) or count < 0:
        return "damaged diagnostics"
    if froze.keys() != algorithm.froze.keys():
        return "damaged diagnostics"
    shape = (len(algorithm.seeds),)
    numbers = [*window.values(), *froze.values()]
    good = all(isinstance(each, Tensor) and each.shape == shape for each in numbers)
    return None if good else "damaged diagnostics"


def _difference(theirs: Any, mine: Mapping[str, Any]) -> str | None:
    """Return the first tensor that only one side has, or that has another shape."""
    if not isinstance(theirs, Mapping):
        return "no tensors"
    for name in sorted(map(str, theirs.keys() ^ mine.keys())):
        return f"tensor {name} is {'missing' if name in mine else 'unknown'}"
    for name, value in mine.items():
        other = theirs[name]
        if not isinstance(other, Tensor) or other.shape != value.shape:
            shape = tuple(other.shape) if isinstance(other, Tensor) else type(other).__name__
            return f"tensor {name} is {shape}, not {tuple(value.shape)}"
    return None
