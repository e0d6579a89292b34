"""The run folder: names of its files, rows of its logs, JSON files."""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vgm2p.envs.base import Episode, Unplayed
from vgm2p.errors import DataError, MissingInput, StorageError
from vgm2p.io.files import read_small, refuse_link, remove_stale, write_atomic
from vgm2p.run.csv_log import CsvLog
from vgm2p.run.ways import Way

EPISODE_FIELDS = ("update", "seed", "episode", "act_noise", "return", "length", "terminated", "won", "faults")


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


def episode_of(row: Mapping[str, str]) -> Episode:
    """Return the episode of a row of episodes.csv. Raises ValueError or KeyError for another row."""
    won = row["won"]
    return Episode(
        int(row["seed"]),
        int(row["episode"]),
        float(row["return"]),
        int(row["length"]),
        bool(int(row["terminated"])),
        bool(int(won)) if won else None,
        int(row["faults"]),
        {name: float(cell) for name, cell in row.items() if name not in EPISODE_FIELDS},
    )


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically; see `json_text`."""
    write_atomic(path, json_text(content))


def json_text(content: Any) -> str:
    """Return JSON with sorted keys, and null for NaN and infinity."""
    return json.dumps(_finite(content), indent=1, sort_keys=True, allow_nan=False) + "\n"


def _finite(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {str(key): _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def read_json(path: Path, what: str) -> dict[str, Any]:
    """Read a JSON object; `what` names its owner in messages. Raises MissingInput, or DataError if it is damaged."""
    try:
        content = json.loads(read_small(path))
    except FileNotFoundError as error:
        raise MissingInput(f"{path.parent}: {what} has no {path.name}; give a run folder of `vgm2p fit`") from error
    except (OSError, ValueError, RecursionError) as error:
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
                for folder in (self.checkpoints, self.plots, self.evaluations, self.path / "tensorboard"):
                    refuse_link(folder)
                with tempfile.TemporaryFile(dir=self.path):
                    pass
            except OSError as error:
                raise StorageError(f"{self.path}: cannot be written ({error.strerror}); choose another out=") from error
            yield

    def clean(self) -> None:
        """Delete temporary files of processes that were killed."""
        for folder in (self.path, self.checkpoints, self.plots):
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
        """Return manifest.json. Raises MissingInput, or DataError if it is damaged."""
        content = read_json(self.manifest, "the folder")
        if not isinstance(content.get("config"), dict):
            raise DataError(f"{self.manifest}: has no configuration; restore it, or start the run in another folder")
        odd = _odd_entry(content)
        if odd:
            raise DataError(f"{self.manifest}: '{odd}' is damaged; restore it, or start the run in another folder")
        return content

    def read_results(self) -> dict[str, Any]:
        """Return results.json. Raises MissingInput, or DataError if it is damaged."""
        content = read_json(self.results, "the run")
        lines = content.get("diverged", [])
        if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
            raise DataError(f"{self.results}: 'diverged' is damaged; restore it, or start the run in another folder")
        return content


def _odd_entry(manifest: Mapping[str, Any]) -> str | None:
    """Return the first entry of a manifest that has another type than we write; entries may be missing."""

    def is_versions(value: Any) -> bool:
        return isinstance(value, dict) and all(isinstance(each, str) for each in value.values())

    config = manifest["config"]
    good = {
        "config.overrides": isinstance(config.get("overrides", []), list),
        "config.updates": isinstance(config.get("updates", 0), int),
        "config.protocol": isinstance(config.get("protocol", ""), str),
        "config.data": isinstance(config.get("data", {}), dict),
        **{key: isinstance(manifest.get(key, {}), dict) for key in ("spec", "data")},
        **{key: is_versions(manifest.get(key, {})) for key in ("versions", "environment_versions")},
        "earlier_commands": isinstance(manifest.get("earlier_commands", []), list),
        "earlier_environment_versions": isinstance(found := manifest.get("earlier_environment_versions", []), list)
        and all(map(is_versions, found)),
    }
    return next((name for name, fine in good.items() if not fine), None)


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


def link_last(folder: Path, say: Callable[[str], None], runs: Path = Path("runs")) -> None:
    """Make the link `runs/last` point to `folder`. Does nothing if `folder` is no run folder below `runs`.

    A file or folder of that name stays. If the link cannot be made, `say` gets one line: the run does not need it.
    """
    link = runs / "last"
    if not (folder / "manifest.json").exists() or runs.resolve() not in folder.resolve().parents:
        return
    target = folder.resolve().relative_to(runs.resolve())
    if link.is_symlink() and Path(os.readlink(link)) == target:
        return
    if os.path.lexists(link) and not link.is_symlink():
        say(f"{link} is no link, and stays as it is: it does not point to this run")
        return
    temporary = runs / f".last.{secrets.token_hex(4)}.tmp"
    try:
        remove_stale(runs, link.name)
        temporary.symlink_to(target)
        os.replace(temporary, link)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        say(f"{link} does not point to this run ({error.strerror})")


def format_seconds(seconds: float) -> str:
    """Return seconds as h:mm:ss."""
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
