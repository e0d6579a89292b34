"""Writes the page: styles, script and sections in one file that needs no network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from string import Template

from vgm2p.errors import ConfigError, StorageError
from vgm2p.io.files import refuse_foreign, remove_stale, write_atomic
from vgm2p.report.looks import COLOURS, DARK, DASHES
from vgm2p.report.page.markup import data_block, joined
from vgm2p.report.page.sections import Sections
from vgm2p.report.page.videos import Films
from vgm2p.report.runs import Run

GENERATOR = '<meta name="generator" content="vgm2p report">'


@dataclass(frozen=True)
class Written:
    """What was written: bytes, and the numbers of embedded and linked films."""

    size: int
    embedded: int
    linked: int

    @property
    def line(self) -> str:
        """The size of the page and its films, as text."""
        films = [f"{self.embedded} embedded" if self.embedded else "", f"{self.linked} linked" if self.linked else ""]
        shown = ", ".join(filter(None, films))
        return f"{self.size / 1e6:.2f} MB" + (f", videos: {shown}" if shown else "")


def check_target(path: Path, made: Path) -> None:
    """Raise ConfigError or StorageError unless a page can be written here: a new file, or an earlier page.

    `made` is a folder that will exist when the page is written.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"html={path}: the file of a page ends in .html; for example html=report.html")
    if not path.parent.is_dir() and path.parent.absolute() != made.absolute():
        raise StorageError(f"html={path}: there is no folder {path.parent}; create it, or choose another html=")
    refuse_foreign(path, (GENERATOR.encode(),), "html", "report")


def write_page(
    runs: Sequence[Run], path: Path, notices: Sequence[str] = (), versus: str | None = None, best: bool = False
) -> Written:
    """Write the page of runs, and return what it holds. Equal runs give equal pages: it holds no date.

    Args:
        runs: the runs, as the tables show them.
        path: the file, for which `check_target` has passed.
        notices: lines about runs that are left out, and about different conditions.
        versus: the method of which differences are shown first; None: the one with the highest mean return.
        best: whether differences are those of each method's best way to act.
    """
    films = Films(path.parent)
    sections = Sections(runs, films, versus, best)
    body = sections.body(notices)
    style, script = _asset("page.css") + _palette(), _asset("page.js")
    text = Template(_asset("page.html")).substitute(
        generator=GENERATOR,
        style_hash=_hash(style),
        script_hash=_hash(script),
        title=joined(sections.title),
        style=style,
        shown="" if sections.shows_seeds else "no-seeds",
        body=body,
        data=data_block({chart.key: chart.data() for chart in sections.charts}),
        script=script,
    )
    content = text.encode()
    remove_stale(path.parent, path.name)
    write_atomic(path, content)
    return Written(len(content), films.embedded, films.linked)


@cache
def _asset(name: str) -> str:
    """Return a file of this folder."""
    return files("vgm2p.report.page").joinpath(name).read_text(encoding="utf-8")


def _palette() -> str:
    """Return colours and line styles of methods as CSS."""
    light = "".join(f"--m{place}:{colour};" for place, colour in enumerate(COLOURS))
    dark = "".join(f"--m{place}:{colour};" for place, colour in enumerate(DARK))
    classes = "".join(f".c{place}{{--c:var(--m{place})}}" for place in range(len(COLOURS)))
    strokes = "".join(
        f".d{place}{{stroke-dasharray:{' '.join(str(2 * part) for part in dash)}}}"
        for place, dash in enumerate(DASHES)
        if dash
    )
    return f":root{{{light}}}@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}{classes}{strokes}"


def _hash(text: str) -> str:
    """Return the hash of an inline style or script for the Content-Security-Policy."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
