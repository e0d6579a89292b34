"""A sweep of eight cells, of which one fails: on one machine, and what another engine has made of it."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.run.runs import differences, environment

KEYS = [
    *("algo=bc_flow", "seed=0,1,2,3", "optim.lr=0.001,0.002"),
    *("updates=500", "eval_every=500", "checkpoint_every=100", "log_every=20", "block_updates=5"),
    *("eval_episodes=1", "eval_acting=[0]", "net.width=16", "net.depth=1", "data.batch_size=8"),
    *("logger.tensorboard=null", "callbacks.plot=null", "trainer.threads=1"),
]
FAILS = "s2x1"  # begin of the name of the folder whose cell fails
FILES = ("metrics.csv", "episodes.csv", "results.json")


class Sweep:
    """A running `fit -m` in a working folder."""

    def __init__(self, place: Path, *more: str, **variables: str) -> None:
        self.place = place
        command = [sys.executable, "-m", "vgm2p", "fit", "-m", *KEYS, *more]
        self.log = place.parent / f"{place.name}.log"
        with open(self.log, "w") as output:
            self.process = subprocess.Popen(
                command, cwd=place, env={**environment(), **variables}, stdout=output, stderr=subprocess.STDOUT
            )

    def training(self) -> list[Path]:
        """Return the folders of the cells that train now."""
        return [path.parent for path in self.place.glob("runs/*/*/*/metrics.csv") if (path.parent / ".lock").exists()]

    def wait_for(self, count: int) -> None:
        """Wait until so many cells train at the same time. The limit is that of every test."""
        while len(self.training()) < count:
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.2)

    @contextlib.contextmanager
    def held(self, count: int) -> Iterator[list[psutil.Process]]:
        """Suspend cells as soon as they train, until there are so many; after the block, let them go on.

        So a fast machine cannot end a cell before the test has interrupted it.
        """
        found: dict[Path, psutil.Process] = {}
        try:
            while len(found) < count:
                assert self.process.poll() is None, self.log.read_text()
                for folder in set(self.training()) - found.keys():
                    with contextlib.suppress(FileNotFoundError, psutil.NoSuchProcess):  # it has just ended
                        found[folder] = process_of(folder)
                        found[folder].suspend()
                time.sleep(0.05)
            yield list(found.values())
        finally:
            for process in found.values():
                with contextlib.suppress(psutil.NoSuchProcess):  # the cluster has woken and ended it
                    process.resume()

    def ended(self, seconds: float = 550) -> str:
        """Return what it has printed when it has ended."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGTERM)
            raise AssertionError(self.log.read_text()) from None
        return self.log.read_text()


def process_of(folder: Path) -> psutil.Process:
    """Return the process that holds the lock of a run folder."""
    return psutil.Process(json.loads((folder / ".lock").read_text())["pid"])


def table(printed: str) -> str:
    """Return the joint table and the failures at the end of a sweep, without what Ray's own processes say."""
    end = printed.rpartition("sweep        7 cells finished")[2]
    return "".join(line for line in end.splitlines(keepends=True) if "(raylet)" not in line)


def on_one_machine(place: Path) -> tuple[dict[str, Path], str]:
    """Run the eight cells in this process. Return name -> folder of the seven good ones, and the table."""
    (place / "runs").mkdir(parents=True)
    first = Sweep(place)
    assert first.process.wait(550) == 0, first.log.read_text()
    folders = {path.parent.name: path.parent for path in place.glob("runs/*/*/*/results.json")}
    failing = sorted(name for name in folders if name.startswith(FAILS))[0]
    for path in sorted(folders[failing].rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    block(place, folders.pop(failing).relative_to(place))
    again = Sweep(place)
    printed = again.ended()
    assert again.process.returncode == 2, printed
    return folders, table(printed)


def block(place: Path, folder: Path) -> None:
    """Let a cell fail: its folder belongs to somebody else."""
    (place / folder).mkdir(parents=True, exist_ok=True)
    (place / folder / "notes.txt").write_text("mine")


def blocked(one: Path) -> Path:
    (path,) = one.glob("runs/*/*/*/notes.txt")
    return path.parent.relative_to(one)


def differing(folders: dict[str, Path], place: Path) -> dict[str, list[str]]:
    """Return name -> differences, for cells that are not bit-identical to those of one machine."""
    there = {path.parent.name: path.parent for path in place.glob("runs/*/*/*/results.json")}
    assert there.keys() == folders.keys()
    found = {name: differences(folders[name], there[name], FILES) for name in folders}
    return {name: lines for name, lines in found.items() if lines}
