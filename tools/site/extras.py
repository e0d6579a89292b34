"""The table of the package's extras, made from pyproject.toml, for the line `<!-- extras -->` in a page."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from vgm2p.io.text import grid

MARK = "<!-- extras -->"
SECTION = "[project.optional-dependencies]\n"


def extras(pyproject: Path) -> dict[str, tuple[str, list[str]]]:
    """Return extra -> what it is for (the comment above it), and its packages."""
    text = pyproject.read_text()
    found = tomllib.loads(text)["project"]["optional-dependencies"]
    section = text.partition(SECTION)[2].partition("\n[")[0]
    comments = {name: comment for comment, name in re.findall(r"^# (.*)\n([\w-]+) = ", section, re.M)}
    return {name: (comments.get(name, ""), packages) for name, packages in found.items()}


def with_extras(text: str, pyproject: Path) -> str:
    """Return the text of a page with the table in the place of its mark."""
    if MARK not in text:
        return text
    rows = [
        [f"`{name}`", what, " ".join(f"`{package}`" for package in packages)]
        for name, (what, packages) in extras(pyproject).items()
    ]
    return text.replace(MARK, grid([["extra", "what it adds", "packages"], *rows]))
