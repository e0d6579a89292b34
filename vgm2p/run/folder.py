"""The run folder: names of its files, CSV logs that can be truncated, JSON files."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vgm2p.envs.base import Episode, Unplayed
from vgm2p.errors import DataError, MissingInput, StorageError
from vgm2p.io.files import open_own, remove_stale, sync, write_atomic

SHARED, MODE, SAMPLE, JUDGED = "shared", "mode", "sample", "judged"
NAMED = (SHARED, MODE, SAMPLE, JUDGED)
# A way to act: a scale of the start noise; SHARED: scale 1, one noise for all agents; None: the default. For discrete
# actions: MODE: the most likely action without noise; SAMPLE: an action drawn from the policy's probabilities;
# JUDGED: the mode of the probabilities after they were weighed by the algorithm's verdict.
Way = float | str | None
EPISODE_FIELDS = ("update", "seed", "episode", "act_noise", "return", "length", "terminated", "won", "faults")


class CsvLog:
    """A CSV file with a column `update`. Appended rows are synced to disk; later rows can be dropped by update."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Append rows with equal keys, and before the first rows the header. Raises StorageError for a link."""
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        if not self.path.exists() or self.path.stat().st_size == 0:
            writer.writeheader()
        writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
        with open_own(self.path, "a") as file:
            file.write(text.getvalue())
            file.flush()
            os.fsync(file.fileno())

    def rows(self) -> list[dict[str, str]]:
        """Return the complete rows. An incomplete last line (the process was killed) is left out."""
        if not self.path.exists():
            return []
        text = self.path.read_text()
        reader = csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1]))
        return [row for row in reader if None not in row.values() and None not in row]

    def truncate(self, update: int) -> None:
        """Delete the rows after update `update`."""
        kept = [row for row in self.rows() if int(row["update"]) <= update]
        if not self.path.exists():
            return
        if not kept:
            self.path.unlink()
            sync(self.path.parent)
            return
        text = io.StringIO()
        writer = csv.DictWriter(text, list(kept[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept)
        write_atomic(self.path, text.getvalue())


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool):
        return int(value)
    return repr(value) if isinstance(value, float) else value


def episode_row(update: int, episode: Episode, way: Way) -> dict[str, Any]:
    """Return a row of episodes.csv. Empty `act_noise` means the algorithm's default; extra numbers come last."""
    values = (
        update,
        episode.seed,
        episode.episode,
        way,
        episode.return_,
        episode.length,
        episode.terminated,
        episode.won,
        episode.faults,
    )
    return {**dict(zip(EPISODE_FIELDS, values, strict=True)), **episode.extra}


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically, with sorted keys, and null for NaN and infinity."""
    write_atomic(path, json.dumps(_finite(content), indent=1, sort_keys=True, allow_nan=False) + "\n")


def _finite(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {str(key): _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def read_json(path: Path, what: str) -> dict[str, Any]:
    """Read a JSON object; `what` names its owner in messages. Raises MissingInput, or DataError if it is damaged."""
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise MissingInput(f"{path.parent}: {what} has no {path.name}; give a run folder of `vgm2p fit`") from error
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: damaged ({type(error).__name__}); restore it, or start the run in another folder"
        ) from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: not a JSON object; restore it, or start the run in another folder")
    return content


class RunFolder:
    """Paths of the files in a run folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest, self.results, self.timing = (path / f"{n}.json" for n in ("manifest", "results", "timing"))
        self.metrics, self.episodes = path / "metrics.csv", path / "episodes.csv"
        self.checkpoints, self.plots, self.evaluations = (path / n for n in ("checkpoints", "plots", "evaluations"))

    @contextlib.contextmanager
    def made(self) -> Iterator[None]:
        """Create the folder and its parents. After the block, remove those that were created here and are empty.

        So a refused run leaves no folders. Raises StorageError if the folder cannot be created or written.
        """
        with contextlib.ExitStack() as stack:
            try:
                _make(self.path, stack)
                with tempfile.TemporaryFile(dir=self.path):
                    pass
            except OSError as error:
                raise StorageError(f"{self.path}: cannot be written ({error.strerror}); choose another out=") from error
            yield

    def clean(self) -> None:
        """Delete temporary files of processes that were killed."""
        for folder in (self.path, self.checkpoints):
            remove_stale(folder)

    def log_metrics(self) -> CsvLog:
        """Return the log of training diagnostics."""
        return CsvLog(self.metrics)

    def log_episodes(self) -> CsvLog:
        """Return the log of evaluation episodes."""
        return CsvLog(self.episodes)

    def begin(self, manifest: Mapping[str, Any]) -> None:
        """Write manifest.json. From now on, the folder is a run folder."""
        self.checkpoints.mkdir(exist_ok=True)
        write_json(self.manifest, manifest)

    def read_manifest(self) -> dict[str, Any]:
        """Return manifest.json. Raises MissingInput or DataError."""
        return read_json(self.manifest, "the folder")

    def read_results(self) -> dict[str, Any]:
        """Return results.json. Raises MissingInput or DataError."""
        return read_json(self.results, "the run")


def _make(folder: Path, stack: contextlib.ExitStack) -> None:
    """Create a folder and its parents. At the end of `stack`, remove those that were created here and are empty."""
    if not folder.is_dir():
        _make(folder.parent, stack)
        with contextlib.suppress(FileExistsError):  # another process has created it first
            folder.mkdir()
            stack.callback(_remove_if_empty, folder)


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def kept_failures(folder: Path, unplayed: Sequence[Unplayed], name: str) -> list[str]:
    """Write the simulator's last lines before each failure to `folder`, and return a line about each of them.

    `name` says in which evaluation, for the names of the files.
    """
    lines = []
    for failure in unplayed:
        path = folder / f"fault-{name}-episode-{failure.episode}.log"
        if failure.log:
            write_atomic(path, failure.log + "\n")
        cause = f" ({failure.cause})" if failure.cause else ""
        kept = f"; last lines of its log: {path}" if failure.log else ""
        lines.append(f"episode {failure.episode} could not be played{cause}{kept}")
    return lines


def link_last(folder: Path, runs: Path = Path("runs")) -> None:
    """Make the link `runs/last` point to `folder`. Does nothing if `folder` is no run folder below `runs`."""
    if not (folder / "manifest.json").exists() or runs.resolve() not in folder.resolve().parents:
        return
    temporary = runs / f".last.{os.getpid()}.tmp"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(folder.resolve().relative_to(runs.resolve()))
    os.replace(temporary, runs / "last")


def format_seconds(seconds: float) -> str:
    """Return seconds as h:mm:ss."""
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
