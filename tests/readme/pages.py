"""The commands and Python programs of the pages.

The Python blocks of a page are one program, at the place of the first. A block whose first line is `# <file>.py` is a file of the
reader instead.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.house import ROOT

# the README comes first: its first command makes the run that other pages name
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROGRAMS = (
    "python ",
    "vgm2p ",
    "make ",
    "pip ",
    "docker ",
)  # what a command in the text or in a plain block begins with
FILE = re.compile(r"# (\w+\.py)\b")
# a fenced block with its language, an indented block, or code in a line
CODE = re.compile(r"^```(\w*)\n(.*?)^```|^((?:    \S[^\n]*\n)+)|`([^`\n]+)`", re.S | re.M)


@dataclass(frozen=True)
class Found:
    """A command (one line) or a Python program of a page, or a file of the reader; `file` is its name."""

    page: str
    text: str
    program: bool = False
    file: str = ""


def found_in(path: Path) -> list[Found]:
    """Return what a page tells its reader to type or to run, comments cut off."""
    return found_in_text(str(path.relative_to(ROOT)), path.read_text())


def found_in_text(page: str, text: str) -> list[Found]:
    """Return the same for the text of a page."""
    found = []
    parts = CODE.findall(text)
    blocks = [block for language, block, *_ in parts if language == "python"]
    program = "\n".join(block for block in blocks if not FILE.match(block))
    found += [Found(page, block, file=named[1]) for block in blocks if (named := FILE.match(block))]
    for language, block, indented, inline in parts:
        if language == "python":
            found += [Found(page, program, program=True)] if program and not FILE.match(block) else []
            program = ""
            continue
        for line in re.sub(r"\\\n *", " ", block or indented or inline).splitlines():
            command = re.split(r"  +#", line)[0].strip()
            if command and not command.startswith("#") and (language == "bash" or _is_command(command)):
                found.append(Found(page, command))
    return found


def _is_command(text: str) -> bool:
    return re.sub(r"^(\w+=\S+ )+", "", text).startswith(PROGRAMS)
