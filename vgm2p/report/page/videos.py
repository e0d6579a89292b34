"""Videos of the page: of every method the film with the highest return, embedded where it is small enough."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from vgm2p.errors import UserError
from vgm2p.io.files import read_small
from vgm2p.io.text import name, shown
from vgm2p.report.evaluations import environment_part
from vgm2p.report.looks import Look
from vgm2p.report.page.markup import Markup, element
from vgm2p.report.page.results import swatch
from vgm2p.report.runs import Run
from vgm2p.run.csv_log import CsvLog
from vgm2p.run.folder import RunFolder, read_json
from vgm2p.run.ways import way_of

EMBEDDED = 8_000_000  # bytes of the largest film that is embedded
TOGETHER = 24_000_000  # bytes of all embedded films
FILM = re.compile(r"episode(\d{1,9})\.mp4")
UNPLAYED = float("-inf")


@dataclass(frozen=True)
class Film:
    """A video in a run folder, as `vgm2p evaluate video=true` writes it.

    Attributes:
        path: the file.
        run: the run whose policy acts.
        episode: number of the episode.
        returned: return of the first seed in this episode, in the run's own way to act; None if it is not known.
    """

    path: Path
    run: Run
    episode: int
    returned: float | None


def best_films(methods: Mapping[str, Sequence[Run]]) -> dict[str, Film]:
    """Return for every method that has films the one with the highest return. Links are not followed."""
    best: dict[str, Film] = {}
    for method, runs in methods.items():
        films = [film for run in runs for film in _films(run)]
        if films:
            best[method] = max(films, key=lambda film: UNPLAYED if film.returned is None else film.returned)
    return best


def _films(run: Run) -> list[Film]:
    evaluations = RunFolder(run.folder).evaluations
    found = []
    for path in sorted(evaluations.glob("*/episode*.mp4")):
        match = FILM.fullmatch(path.name)
        safe = path.is_file() and not any(each.is_symlink() for each in (evaluations, path.parent, path))
        if match and safe and _of_this(path.parent, run):
            found.append(Film(path, run, int(match[1]), _return(path.parent / "episodes.csv", run, int(match[1]))))
    return found


def _of_this(evaluation: Path, run: Run) -> bool:
    """Return whether an evaluation is of the run's last policy, in the environment of the training."""
    try:
        content = read_json(evaluation / "results.json", "the evaluation")
    except UserError:
        return False
    own = environment_part(run.manifest["config"].get("env") or {})
    return bool(content.get("updates") == run.results["updates"] and content.get("env", own) == own)


def _return(log: Path, run: Run, episode: int) -> float | None:
    """Return what the first seed got in an episode of an evaluation, in the run's own way to act."""
    own = run.results["act_noise"]
    try:
        for row in CsvLog(log).rows():
            same = int(row["seed"]) == min(run.results["seeds"]) and int(row["episode"]) == episode
            if same and way_of(row["act_noise"]) == own:
                return float(row["return"])
    except (UserError, ValueError, KeyError):
        return None
    return None


class Films:
    """Writes the films of a page, and counts them.

    Args:
        folder: the folder of the page; links are relative to it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.embedded, self.linked, self.bytes = 0, 0, 0

    def section(self, methods: Mapping[str, Sequence[Run]], styles: Mapping[str, Look]) -> Markup | None:
        """Return the films of the methods of one experiment; None if there are none."""
        figures = [self._figure(method, film, styles[method]) for method, film in best_films(methods).items()]
        shown_ones = [figure for figure in figures if figure is not None]
        return element("div", shown_ones, class_="films") if shown_ones else None

    def _figure(self, method: str, film: Film, look: Look) -> Markup | None:
        size = film.path.stat().st_size
        seed = min(film.run.results["seeds"])
        about = f"seed {seed}, episode {film.episode}"
        about += "" if film.returned is None else f", return {shown(film.returned)}"
        caption = element("figcaption", swatch(look), element("b", method), element("span", about))
        if size > EMBEDDED or self.bytes + size > TOGETHER:
            self.linked += 1
            text = f"{name(film.path.name)} ({size / 1e6:.1f} MB, not embedded)"
            return element("figure", caption, element("p", element("a", text, href=self._link(film.path))))
        try:
            content = read_small(film.path, EMBEDDED)
        except (OSError, UserError):
            return None
        if content[4:8] != b"ftyp":  # every mp4 file begins so
            return None
        self.embedded += 1
        self.bytes += size
        source = f"data:video/mp4;base64,{base64.b64encode(content).decode()}"
        video = element("video", src=source, controls=True, muted=True, loop=True, playsinline=True, preload="metadata")
        return element("figure", caption, video)

    def _link(self, path: Path) -> str:
        """Return the relative address of a file; a folder's name cannot be read as a scheme such as `javascript:`."""
        parts = Path(os.path.relpath(path.resolve(), self.folder)).parts
        return "./" + "/".join(quote(part, safe="") for part in parts)
