"""Quotes text for Hydra, so that a file name with any characters is read as it is."""

from __future__ import annotations

import re
from typing import Any

INTERPOLATION = re.compile(r"(?<!\\)(?:\\\\)*\$\{")  # not `\${`, which is plain text
SIMPLE, SPECIAL = re.compile(r"[A-Za-z_][\w/.-]*", re.ASCII), ("null", "true", "false", "nan", "inf")
ESCAPED = re.compile(r"([\\()\[\]{}:=, \t])")  # characters to escape in a key: in Hydra's grammar, a key has no quotes
CALL = re.compile(INTERPOLATION.pattern + r"[^}]*:")  # an interpolation that calls a resolver, such as ${oc.env:NAME}


def quoted(text: str) -> str:
    """Return text in quotes. Hydra and OmegaConf read it literally, as a value or as an element of a list."""
    return in_quotes(re.sub(r"(\\*)\$\{", lambda found: 2 * found[1] + "\\${", text))


def in_quotes(text: str) -> str:
    """Return text in quotes; interpolations such as `${label}` in it stay alive."""
    return '"' + re.sub(r'(\\*)("|$)', lambda found: 2 * found[1] + ('\\"' if found[2] else ""), text) + '"'


def literal(value: str) -> str:
    """Return the text that a value without interpolations stands for: OmegaConf's `\\${` becomes `${`."""
    return re.sub(r"(\\*)\\\$\{", lambda found: found[1][: len(found[1]) // 2] + "${", value)


def written(value: Any) -> str:
    """Return a value as text in Hydra's grammar."""
    if isinstance(value, dict):
        pairs = (ESCAPED.sub(r"\\\1", str(key)) + ":" + written(inner) for key, inner in value.items())
        return "{" + ",".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(written, value)) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return value if SIMPLE.fullmatch(value) and value.lower() not in SPECIAL else quoted(value)
    return repr(value)
