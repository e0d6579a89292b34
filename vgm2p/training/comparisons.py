"""Comparison runs: the same command with other algorithms, one after another, in processes parallel to the main run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vgm2p.config.compose import options
from vgm2p.config.draws import for_others
from vgm2p.config.quoting import quoted
from vgm2p.config.settings import PAPER, FitSettings
from vgm2p.errors import ConfigError, DataError, Diverged, StorageError, UserError, nearest
from vgm2p.io.files import open_own, write_atomic
from vgm2p.io.processes import child_environment
from vgm2p.run.folder import read_json

FOLDER_FILE = "VGM2P_FOLDER_FILE"  # environment variable: the file where a comparison run writes its folder's name
OWN = ("compare=", "trainer.threads=")  # further words of the main run that are not passed to a comparison run


def compared_with(settings: FitSettings) -> list[str]:
    """Return the algorithms of `compare`. The run's own is left out, unless its settings were changed by `algo.` keys.

    Raises ConfigError for an unknown algorithm.
    """
    known = options("algo")
    unknown = [name for name in settings.compare if name not in known]
    if unknown:
        raise ConfigError(
            f"compare: unknown algorithm '{unknown[0]}'{nearest(unknown[0], known, 'vgm2p fit --help algo')}"
        )
    changed = any(_bare(word).startswith("algo.") for word in settings.overrides)
    return [name for name in settings.compare if changed or name != settings.algo_name]


def report_folder(folder: Path) -> None:
    """In a comparison run, write the name of its folder to the file that the main run reads. Else do nothing."""
    place = os.environ.pop(FOLDER_FILE, None)
    if place is not None:
        write_atomic(Path(place), json.dumps({"folder": str(folder)}) + "\n")


class Comparisons:
    """Trains the algorithms of `compare` in the background, in one process after another, each with one thread.

    Each is an ordinary run with its own folder; it is resumed or skipped like every run. Its output goes to
    `compare-<algorithm>.log` in the main folder, and the name of its folder to `compare-<algorithm>.json` there.
    """

    def __init__(self, settings: FitSettings, folder: Path, say: Callable[[str], None]) -> None:
        self.names = list(settings.compare)
        self.folders: list[Path] = []
        self._overrides, self._protocol, self._folder, self._say = settings.overrides, settings.protocol, folder, say
        self._process: subprocess.Popen[str] | None = None
        self._stopped = False
        self._thread = threading.Thread(target=self._run_all, daemon=True)

    def __enter__(self) -> Comparisons:
        return self

    def start(self) -> None:
        """Start the first run. The main run has loaded its data, so these runs will find the data, too."""
        if self.names:
            self._thread.start()

    def recall(self) -> None:
        """Take the folders of the runs that an earlier session made, and start none."""
        for place in (self._place(name) for name in self.names):
            if place.is_file():
                self.folders.append(_named_folder(place))

    def __exit__(self, *unused: Any) -> None:
        """Stop the comparison run that is running. It saves its state, and the same command continues it."""
        self._stopped = True
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def wait(self, poll: Callable[[], bool]) -> None:
        """Wait until all runs have ended or `poll` returns True."""
        if self._thread.is_alive():
            self._say(f"waiting for the comparison runs ({', '.join(self.names)})")
        while self._thread.is_alive() and not poll():
            self._thread.join(timeout=0.2)

    def _run_all(self) -> None:
        for name in self.names:
            if not self._stopped:
                try:
                    self._run(name)
                except UserError as error:
                    self._say(f"comparison run {name}: {error.line}")

    def _run(self, name: str) -> None:
        log, place = self._folder / f"compare-{name}.log", self._place(name)
        environment = child_environment({FOLDER_FILE: str(place)})
        try:
            place.unlink(missing_ok=True)
            with open_own(log, "w") as output:
                self._process = subprocess.Popen(
                    self._command(name), stdout=output, stderr=subprocess.STDOUT, text=True, env=environment
                )
                if self._stopped:
                    self._process.terminate()
                code = self._process.wait()
        except (OSError, StorageError) as error:
            self._say(f"comparison run {name} could not be started: {error}")
            return
        if code in (0, Diverged.exit_code) and place.exists():
            self.folders.append(_named_folder(place))
        if code and not self._stopped:
            self._say(f"comparison run {name} ended with exit code {code}; see {log}")

    def _place(self, name: str) -> Path:
        return self._folder / f"compare-{name}.json"

    def _command(self, name: str) -> list[str]:
        overrides = [word for word in for_others(self._overrides) if not _bare(word).startswith(OWN)]
        words = [*overrides, f"algo={name}", "compare=[]", "trainer.threads=1"]
        if self._protocol != PAPER:  # an algorithm without settings in this protocol is trained with protocol=paper
            known = f"{self._protocol}/{name}" in options("protocol")
            words.append(f"protocol={self._protocol if known else PAPER}")
        if any(word.startswith("out=") for word in self._overrides):
            words.append(f"out={quoted(f'{self._folder}-{name}')}")
        return [sys.executable, "-m", "vgm2p", "fit", *words]


def _named_folder(place: Path) -> Path:
    """Return the folder that a comparison run has written. Raises DataError if the file is damaged."""
    folder = read_json(place, "the comparison run").get("folder")
    if not isinstance(folder, str):
        raise DataError(f"{place}: names no folder; delete it, and run the same command again")
    return Path(folder)


def _bare(word: str) -> str:
    """Return an override without Hydra's prefixes for adding and removing keys."""
    return word.lstrip("+~")
