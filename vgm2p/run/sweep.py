"""A sweep (multirun): several runs of one command, in this process or in worker processes of Hydra's joblib launcher.

The process of the command makes a folder. Every run that fails leaves a note there. A signal to the command becomes a
mark there, which the workers see: each of them saves its run and ends it, and starts no other one.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from vgm2p.io.processes import follow
from vgm2p.signals import StopFlag

FOLDER = "VGM2P_SWEEP"  # environment variable: process id of the command, and the folder of the sweep
SECONDS = 0.5  # time between two looks at the parent and at the mark
STOP = "stop"  # name of the mark; its content is the number of the signal
KILLED = 128 + signal.SIGTERM


@dataclass(frozen=True)
class Note:
    """A run that failed, or that a signal stopped or prevented.

    Attributes:
        code: its exit code.
        line: its message.
        out: its folder, if that is known.
        overrides: its words.
    """

    code: int
    line: str
    out: str | None
    overrides: list[str]


class Sweep:
    """The sweep's folder.

    Args:
        owner: process id of the command.
        folder: the folder.
    """

    def __init__(self, owner: int, folder: Path) -> None:
        self.owner, self.folder = owner, folder

    @classmethod
    def begin(cls, folder: Path) -> Sweep:
        """Begin a sweep of this process, and tell processes that it starts."""
        os.environ[FOLDER] = f"{os.getpid()} {folder}"
        return cls(os.getpid(), folder)

    @classmethod
    def joined(cls) -> Sweep:
        """Return the sweep to which this process belongs."""
        owner, _, folder = os.environ[FOLDER].partition(" ")
        return cls(int(owner), Path(folder))

    def stop(self, signum: int) -> None:
        """Tell the workers that a signal arrived."""
        with contextlib.suppress(OSError):  # called in a signal handler, which must not raise another error
            (self.folder / STOP).write_text(str(signum))

    def stopped(self) -> int | None:
        """Return the signal that arrived at the command, or None. A worker whose command has ended is stopped, too."""
        if os.getppid() != self.owner:
            return signal.SIGTERM
        try:
            return int((self.folder / STOP).read_text() or signal.SIGTERM)
        except OSError:
            return None

    def note(self, note: Note) -> None:
        """Keep a note for the end of the sweep."""
        with contextlib.suppress(FileNotFoundError):  # the command was killed, and another one has removed its folder
            (self.folder / f"{secrets.token_hex(8)}.json").write_text(json.dumps(asdict(note)))

    def notes(self) -> list[Note]:
        """Return all notes."""
        return [Note(**json.loads(path.read_text())) for path in sorted(self.folder.glob("*.json"))]


class Worker:
    """A worker process of the launcher. It follows its command: it stops when that one is stopped or killed.

    Args:
        sweep: the sweep of the command.
        stop: the flag that the runs of this process check.
    """

    def __init__(self, sweep: Sweep, stop: StopFlag) -> None:
        self.sweep, self.stop = sweep, stop
        self._busy = threading.Lock()  # held while a run is under way
        follow(sweep.owner)
        threading.Thread(target=self._follow, daemon=True).start()

    def __enter__(self) -> Worker:
        self.stop.install()
        self.stop.signum = None  # a signal to this process alone ended the run before, and not this one
        self._busy.acquire()
        return self

    def __exit__(self, *unused: object) -> None:
        self._busy.release()

    def _follow(self) -> None:
        while True:
            time.sleep(SECONDS)
            signum = self.sweep.stopped()
            if signum is not None and self._busy.locked() and not self.stop.requested():
                os.kill(os.getpid(), signum)
            if os.getppid() != self.sweep.owner and self._busy.acquire(blocking=False):
                os._exit(KILLED)  # nobody reads the result, and nobody gives it another run
