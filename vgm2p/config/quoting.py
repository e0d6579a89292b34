"""Quotes text for Hydra, so that a file name with any characters is read as it is."""

from __future__ import annotations

import re

INTERPOLATION = re.compile(r"(?<!\\)(?:\\\\)*\$\{")  # not `\${`, which is plain text
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
