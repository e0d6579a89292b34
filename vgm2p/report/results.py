"""Whether the content of results.json is sound: right types, finite numbers, and the means of the stored episodes."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from vgm2p.report.estimates import mean
from vgm2p.run.ways import Way, is_way

CLOSE = 1e-6  # relative distance of two means of the same episodes
NAMES = ("experiment", "algorithm", "data_digest")
NULLS = [None, None]  # the interval of a single episode
INTERVALS = ("dataset_return", "random_return", "dataset_won", "random_won", "dataset_score", "random_score")


def damaged_entry(results: Mapping[str, Any]) -> str | None:
    """Return the name of an entry that no run can have written; None if there is none."""
    good = {
        **{name: isinstance(results[name], str) for name in NAMES},
        "seeds": _whole_numbers(results["seeds"]),
        "updates": _whole(results["updates"]),
        "act_noise": is_way(results["act_noise"]),
        "return_mean": finite(results["return_mean"]),
        "diverged_seeds": _whole_numbers(results.get("diverged_seeds", [])),
        "by_act_noise": _is_list(results.get("by_act_noise", []), is_entry),
    }
    for name in (name for name in INTERVALS if f"{name}_mean" in results):
        good[f"{name}_mean"] = finite(results[f"{name}_mean"])
        bounds = results.get(f"{name}_ci95")
        good[f"{name}_ci95"] = bounds == NULLS or (_is_list(bounds, finite) and len(bounds or ()) == 2)
    return next((name for name, fine in good.items() if not fine), None)


def other_result(results: Mapping[str, Any], returns: Mapping[Way, Mapping[int, Sequence[float]]]) -> str | None:
    """Return the name of an entry that is not the mean of the episodes; None if all are.

    Args:
        results: content of results.json, without damaged entries.
        returns: act_noise -> seed -> returns of the final evaluation.
    """
    entries = [(f"return_mean of act_noise {entry['act_noise']}", entry) for entry in results.get("by_act_noise", [])]
    for name, entry in [("return_mean", results), *entries]:
        values = [list(each) for each in returns.get(entry["act_noise"], {}).values()]
        if not values or not math.isclose(entry["return_mean"], mean(values), rel_tol=CLOSE, abs_tol=CLOSE):
            return name
    return None


def finite(value: Any) -> bool:
    """Return whether a value is a finite number, and not a truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def is_entry(entry: Any) -> bool:
    """Return whether an entry of `by_act_noise` has the keys and types that an evaluation writes."""
    return (
        isinstance(entry, Mapping)
        and {"act_noise", "episodes", "return_mean"} <= entry.keys()
        and is_way(entry["act_noise"])
        and _whole(entry["episodes"])
        and finite(entry["return_mean"])
    )


def _is_list(value: Any, good: Any) -> bool:
    return isinstance(value, list) and all(good(each) for each in value)


def _whole_numbers(value: Any) -> bool:
    return _is_list(value, _whole)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
