"""Tables of the keys in conf/, from the comments of its yaml files, for lines such as `<!-- keys: fit -->` in a page.

A page says where a table stands, conf/ says what is in it:

    <!-- keys: fit -->               the keys of conf/fit.yaml
    <!-- keys: net/paper as net -->  those of conf/net/paper.yaml, named `net.width` and so on
    <!-- keys of every: algo -->     a section with a table for each file of conf/algo
    <!-- files of: experiment -->    the files of conf/experiment, with the first sentence of each
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vgm2p.config.compose import config_folder
from vgm2p.io.text import grid

MARK = re.compile(r"^<!-- (keys|keys of every|files of): ([\w/]+)(?: as ([\w.]+))? -->$", re.M)
KEY = re.compile(r"( *)(\w+):(?: +([^#\s].*?))?(?: +# (.*))?$")
NOT_KEYS = ("defaults", "hydra")  # blocks that are no keys of a command
HOME = "docs/"  # how comments name a page


@dataclass(frozen=True)
class Key:
    """A key of a yaml file: its full name, its value as the file has it, and its comment."""

    name: str
    default: str
    meaning: str


def tables(text: str, page: str) -> str:
    """Return the text of a page with every mark replaced by what it stands for. Raises OSError if a file is missing."""
    return MARK.sub(lambda match: _made(match[1], match[2], match[3], page), text)


def head_of(path: Path) -> str:
    """Return the comment at the head of a yaml file, which says what the file is."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith("# @package")]
    head: list[str] = []
    for line in lines:
        if not line.startswith("#"):
            break
        head.append(line.removeprefix("#").strip())
    return " ".join(head)


def keys_of(path: Path, prefix: str = "") -> Iterator[Key]:
    """Yield the keys of a yaml file with their comments. A node is left out unless it has a comment of its own."""
    above: list[tuple[int, str]] = []  # the nodes around a line: their indents and names
    comment: list[str] = []
    hidden = in_head = True
    for line in path.read_text().splitlines():
        found = KEY.match(line)
        if line.lstrip().startswith("#"):
            comment += [] if in_head else [line.strip().removeprefix("#").strip()]
        elif not found:
            in_head = in_head and bool(line.strip())
            comment = comment if line.strip() else []
        else:
            in_head, indent, name = False, len(found[1]), found[2]
            hidden = name in NOT_KEYS if not indent else hidden
            above = [each for each in above if each[0] < indent]
            meaning = " ".join([*comment, found[4] or ""]).strip()
            if not hidden and name != "_target_" and (meaning or found[3]):
                full = ".".join([*filter(None, [prefix]), *(each for _, each in above), name])
                yield Key(full, found[3] or "", meaning)
            above.append((indent, name))
            comment = []


def _made(what: str, name: str, prefix: str | None, page: str) -> str:
    folder = config_folder()
    if what == "keys":
        return _table(folder / f"{name}.yaml", prefix or "", page)
    files = sorted((folder / name).rglob("*.yaml"))
    if what == "files of":
        known = [[f"`{path.relative_to(folder / name).with_suffix('')}`", _text(head_of(path), page)] for path in files]
        return grid([[f"`{name}=`", "what it is"], *known])
    parts = [f"## {path.stem}\n\n{_text(head_of(path), page)}\n\n{_table(path, name, page)}" for path in files]
    return "\n\n".join(parts)


def _table(path: Path, prefix: str, page: str) -> str:
    rows = [[f"`{key.name}`", _code(key.default), _text(key.meaning, page)] for key in keys_of(path, prefix)]
    return grid([["key", "default", "meaning"], *rows])


def _code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|") if text else ""


def _text(comment: str, page: str) -> str:
    """Return a comment as Markdown: nothing in it is markup but code in backticks, and names of pages become links."""
    parts = re.split(r"(`[^`]*`)", comment)
    return "".join(part.replace("|", "\\|") if part.startswith("`") else _plain(part, page) for part in parts)


def _plain(text: str, page: str) -> str:
    escaped = re.sub(r"([\\*_\[\]|])", r"\\\1", text.replace("&", "&amp;").replace("<", "&lt;"))
    return re.sub(rf"{HOME}([\w/\\]+)\.md", lambda match: _link(match[1].replace("\\", ""), page), escaped)


def _link(name: str, page: str) -> str:
    there = posixpath.relpath(f"{name}.md", posixpath.dirname(page) or ".")
    return f"[{posixpath.basename(name)}]({there})"
