"""The rules for the attributes of a dataset: names, types, ranges, and texts that hold JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vgm2p.errors import DataError

MEND = "correct it, and write the file again (docs/data.md)"  # the remedy for a file that breaks a rule
LARGEST = 2**63 - 1
MOST = 2**31 - 1  # largest count
TEXTS = ("name", "env_id", "env_kwargs")
COUNTS = ("n_agents", "action_dim", "episode_limit")  # whole numbers from 1
REQUIRED = (*COUNTS, "discrete", *TEXTS)
JSON = {"env_kwargs": dict, "facts": dict, "behaviours": list}  # attribute -> what its JSON must be
COUNTED = (  # facts of a conversion that `data check` compares with the content
    *("episodes", "return_mean", "return_std", "return_min", "return_max", "vault_rows", "delimiter_rows"),
    *("clipped_share", "action_limit", "state_still_episodes"),
)
VIEWS = ("omiga", "native")


def broken(path: Path, what: str) -> DataError:
    """Return the error for a dataset that breaks a rule."""
    return DataError(f"{path}: {what}; {MEND}")


def plain(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes with Python's numbers in place of numpy's."""
    return {key: value.item() if isinstance(value, np.generic) else value for key, value in attributes.items()}


def check_attributes(path: Path, attributes: Mapping[str, Any]) -> None:
    """Check the attributes of a dataset. Raises DataError, which names the first defect."""
    for key, value in attributes.items():
        defect = _storable(key, value)
        if defect:
            raise broken(path, f"attribute {key!r} {defect}")
    for key in REQUIRED:
        if key not in attributes:
            raise broken(path, f"attribute '{key}' is missing")
    for key, rule, wanted in _rules():
        if key in attributes and not rule(attributes[key]):
            raise broken(path, f"attribute '{key}' is {_short(attributes[key])}, not {wanted}")
    for key in JSON:
        if key in attributes:
            parsed(path, attributes, key)
    for key, value in parsed(path, attributes, "facts").items() if "facts" in attributes else ():
        if key in COUNTED and not _number(value):
            raise broken(path, f"attribute 'facts' says that {key} is {_short(value)}, not a number")
        if key == "notices" and not (isinstance(value, list) and all(isinstance(line, str) for line in value)):
            raise broken(path, "attribute 'facts' has notices that are no list of texts")
    for record in parsed(path, attributes, "behaviours") if "behaviours" in attributes else ():
        if not isinstance(record, dict) or "policy" not in record:
            raise broken(path, "attribute 'behaviours' has an entry without a policy")
        noise = record.get("noise")
        if noise is not None and not _number(noise):
            raise broken(path, f"attribute 'behaviours' has a noise of {_short(noise)}, not a number")


def parsed(path: Path, attributes: Mapping[str, Any], key: str) -> Any:
    """Return what the JSON text in an attribute holds. Raises DataError if it is no such JSON."""
    text, kind = attributes[key], JSON[key]
    try:
        found = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        raise broken(path, f"attribute '{key}' is {_short(text)}, not JSON") from None
    if not isinstance(found, kind):
        name = "object" if kind is dict else "list"
        raise broken(path, f"attribute '{key}' is {_short(text)}, not a JSON {name}")
    return found


def _storable(key: str, value: Any) -> str:
    """Return why an attribute cannot be stored and read back, or an empty text."""
    if not isinstance(key, str) or not _text(key) or not key:
        return "has a name that cannot be stored"
    if isinstance(value, str):
        return "" if _text(value) else "holds characters that cannot be stored"
    if isinstance(value, int):
        return "" if -LARGEST <= value <= LARGEST else "is too large"
    return "" if isinstance(value, float) else f"has type {type(value).__name__}, not text or a number"


def _text(value: str) -> bool:
    try:
        return b"\0" not in value.encode()
    except UnicodeEncodeError:
        return False


def _rules() -> list[tuple[str, Callable[[Any], bool], str]]:
    """Return (attribute, rule, what the rule wants)."""
    return [
        *((key, lambda value: isinstance(value, str) and value != "", "a text") for key in TEXTS),
        *((key, _count, f"a whole number from 1 to {MOST}") for key in COUNTS),
        ("discrete", lambda value: isinstance(value, int) and value in (0, 1), "0 or 1"),
        ("stored_view", lambda value: value in VIEWS, " or ".join(VIEWS)),
        ("action_limit", lambda value: _number(value) and value > 0, "a number above 0"),
    ]


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:36]}..."
