"""A sweep (multirun): several runs of one command, its cells, in this process, in worker processes, or on a cluster.

The process of the command makes a folder. How each cell ended is written there. A signal to the command becomes a mark
there. The workers of Hydra's joblib launcher see it: each of them saves its run and ends it, and starts no other one.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import takewhile
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TextIO

from vgm2p.io.files import open_own, write_atomic
from vgm2p.io.flock import lock_file
from vgm2p.io.processes import follow
from vgm2p.signals import SIGNALS, StopFlag

FOLDER = "VGM2P_SWEEP"  # environment variable: process id of the command, and the folder of the sweep
SECONDS = 0.5  # time between two looks at the parent and at the mark
STOP = "stop"  # name of the mark; its content is the number of the signal
KILLED = 128 + signal.SIGTERM
VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Outcome:
    """How a cell ended. As a number (`float(outcome)`), it is the cell's return: a search over keys reads it.

    Attributes:
        code: its exit code; 0: it is finished.
        line: its message, if it failed, or if a signal stopped or prevented it.
        out: its folder, if that is known.
        overrides: its words.
        objective: its return; None: it has none.
    """

    code: int
    line: str
    out: str | None
    overrides: list[str]
    objective: float | None = None

    def __float__(self) -> float:
        """Return the cell's return. Raises ValueError if it has none."""
        if self.objective is None:
            raise ValueError(self.line or "this cell has no return")
        return self.objective


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

    def join_elsewhere(self) -> None:
        """Let this process, which no process of the sweep has started, belong to the sweep."""
        os.environ[FOLDER] = f"-1 {self.folder}"  # on another machine, the owner's number may be that of any process

    def stop(self, signum: int) -> None:
        """Tell the workers that a signal arrived."""
        with contextlib.suppress(OSError):  # called in a signal handler, which must not raise another error
            (self.folder / STOP).write_text(str(signum))

    def stopped(self) -> int | None:
        """Return the signal that arrived at the command, or None. A worker whose command has ended is stopped, too."""
        if self.owner not in (os.getpid(), os.getppid()):
            return signal.SIGTERM
        try:
            return int((self.folder / STOP).read_text() or signal.SIGTERM)
        except OSError:
            return None

    def note(self, cell: str, outcome: Outcome) -> None:
        """Keep how a cell ended. A later note of the same name replaces an earlier one."""
        with contextlib.suppress(FileNotFoundError):  # the folder is on another machine, or its command was killed
            write_atomic(self.folder / f"{cell}.json", json.dumps(asdict(outcome)))

    def begin_cell(self, cell: str) -> None:
        """Mark that a worker runs a cell."""
        (self.folder / f"{cell}.begun").touch()

    def take_begun(self, cell: str) -> bool:
        """Return whether a cell has the mark of `begin_cell`, and remove it."""
        mark = self.folder / f"{cell}.begun"
        begun = mark.exists()
        mark.unlink(missing_ok=True)
        return begun

    def outcome(self, cell: str) -> Outcome | None:
        """Return how a cell has ended; None: it has not."""
        path = self.folder / f"{cell}.json"
        return Outcome(**json.loads(path.read_text())) if path.exists() else None

    def outcomes(self) -> list[Outcome]:
        """Return how the cells have ended, so far."""
        found = (self.outcome(path.stem) for path in sorted(self.folder.glob("*.json")))
        return [outcome for outcome in found if outcome is not None]

    def take_device(self, devices: Sequence[str]) -> tuple[str, TextIO]:
        """Return the device with the fewest workers, and the open file that keeps it taken until this process ends."""
        for turn in range(1000):
            for device in devices:
                file = open_own(self.folder / f"device-{device.replace('/', '_')}-{turn}", "a")
                with contextlib.suppress(BlockingIOError):
                    lock_file(file)
                    return device, file
                file.close()
        raise AssertionError("more workers than a machine can have")


class Worker:
    """A worker process of the launcher. It follows its command: it stops when that one is stopped or killed.

    Args:
        sweep: the sweep of the command.
        stop: the flag that the runs of this process check.
        devices: the CUDA devices of this machine; the worker takes one of them. Empty: there is none.
    """

    def __init__(self, sweep: Sweep, stop: StopFlag, devices: Sequence[str] = ()) -> None:
        self.sweep, self.stop = sweep, stop
        self._busy = threading.Lock()  # held while a run is under way
        if devices:
            os.environ[VISIBLE], self._device = sweep.take_device(devices)
        follow(sweep.owner)
        threading.Thread(target=self._follow, daemon=True).start()

    def __enter__(self) -> Worker:
        self.stop.install()
        self.stop.signum = None  # a signal to this process alone ended the run before, and not this one
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # one that came before the first run arrives here
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


def visible_devices() -> list[str]:
    """Return the CUDA devices that this process may use, as `CUDA_VISIBLE_DEVICES` names them.

    As for CUDA, the names end before the first that is no device, such as -1.
    """
    named = os.environ.get(VISIBLE)
    if named is not None:
        names = [device.strip() for device in named.split(",")]
        return list(takewhile(lambda name: name and not name.startswith("-"), names))
    import torch  # here, because it is slow to import

    return [str(number) for number in range(torch.cuda.device_count())]


@contextlib.contextmanager
def born_deaf() -> Iterator[None]:
    """Let processes that start in this block get no signal before they ask for it (`Worker`).

    A signal to the whole process group, such as Ctrl-C, would kill a process that is still starting. The mask of
    blocked signals is inherited. This process gets its signals all the same, in another thread.
    """
    resource_tracker.ensure_running()  # loky would start it, and its start lets SIGINT and SIGTERM through
    ended = threading.Event()
    threading.Thread(target=ended.wait, daemon=True).start()  # has the mask of before
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        ended.set()
