"""Locks: one process per run folder or output, and one process that prepares a file that several runs share.

A lock file names its process and machine. On one machine, the operating system knows whether that process still holds
the lock. Where it cannot know (another machine, or a file system without locks), the heartbeat decides: the holder
renews the time of its lock file every `BEAT` seconds. Another process takes a lock over if that time does not change
while it watches for `PATIENCE` seconds. No clocks are compared, so they may differ.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from vgm2p.errors import DataError, StorageError
from vgm2p.io.files import named, open_own, read_small, remove_stale
from vgm2p.io.flock import lock_file
from vgm2p.io.processes import followed, is_orphan
from vgm2p.io.text import say as print_line
from vgm2p.io.text import warn_once

BEAT = 5.0  # seconds between two heartbeats
PATIENCE = 30.0  # a lock whose heartbeat does not change for so many seconds is that of a dead process
POLL = 0.2  # seconds between two looks at a lock
LARGEST = 1 << 12  # bytes of a lock file
BOOT = Path("/proc/sys/kernel/random/boot_id")


@contextlib.contextmanager
def one_at_a_time(path: Path, what: str, say: Callable[[str], None]) -> Iterator[bool]:
    """Hold the lock file `path` while this process prepares `what`. A process that must wait prints a line.

    Yields whether the lock is held.

    The lock ends with the process. On a file system without locks, several processes may do the same work; the files
    are complete nevertheless, because they are renamed at the end. Raises StorageError if the lock file is a link.
    """
    with open_own(path, "a") as file:
        try:
            locked = lock_file(file)
        except BlockingIOError:
            say(f"waiting for another process that prepares {what}")
            locked = lock_file(file, wait=True)
        if not locked:
            warn_once("the file system of data.cache has no locks: two runs at once may both prepare the same dataset")
        yield locked


def cannot_write(error: OSError | StorageError) -> bool:
    """Return whether an error of a lock says that its folder cannot be written, and not that another process has it."""
    return isinstance(error if isinstance(error, OSError) else error.__cause__, OSError)


@dataclass(frozen=True)
class Holder:
    """The process that wrote a lock file.

    Attributes:
        pid: its number.
        host: the name of its machine.
        boot: identifies the running kernel of its machine; empty if it is not known.
        token: random text, which no other lock has.
        follows: the process on whose end this process saves its state and ends; 0: none.
    """

    pid: int
    host: str
    boot: str = ""
    token: str = ""
    follows: int = 0

    def __str__(self) -> str:
        return f"process {self.pid} on {'this machine' if self.host == socket.gethostname() else self.host}"


class Lock:
    """Context manager that holds a lock file, and deletes it at the end.

    Raises StorageError if a living process holds the lock, or if the file is a link.

    Args:
        path: the lock file.
        what: what is locked, for messages.
        say: prints a line when this process watches or takes over the lock of another one.
        wait: called again and again while this process waits for another one; it may raise an error. None: do not wait.
        on_lost: called in a background thread if another process has taken the lock over, for example because this
            machine was suspended.
        beat: seconds between two heartbeats.
        patience: how many seconds without a heartbeat mean that a process is dead.
    """

    def __init__(
        self,
        path: Path,
        what: str,
        say: Callable[[str], None] = lambda line: None,
        wait: Callable[[], None] | None = None,
        on_lost: Callable[[str], None] | None = None,
        beat: float = BEAT,
        patience: float = PATIENCE,
    ) -> None:
        self.path, self.what, self.say, self.wait = path, what, say, wait
        self.on_lost, self.beat, self.patience = on_lost or _end, beat, patience
        self._me = Holder(os.getpid(), socket.gethostname(), _boot(), secrets.token_hex(8), followed())
        self._file: TextIO | None = None
        self._left = threading.Event()
        self._said = False

    def __enter__(self) -> Lock:
        while self._file is None:
            self._file = self._locked()
        self._left.clear()
        threading.Thread(target=self._keep_alive, daemon=True).start()
        return self

    def __exit__(self, *unused: Any) -> None:
        assert self._file is not None
        self._left.set()
        if not self._taken():
            self.path.unlink(missing_ok=True)  # before the lock ends: the next process then sees that the file is gone
        self._file.close()
        self._file = None

    def _locked(self) -> TextIO | None:
        """Return the locked file; None if the caller must try again."""
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(open_own(self.path, "a+"))
            try:
                flocked = lock_file(file)
            except BlockingIOError:
                self._wait_for(_holder(self.path))
                return None
            if not flocked:
                warn_once(
                    f"{self.path.parent}: its file system has no locks; the heartbeat in {self.path.name} decides"
                )
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), self.path.stat()) and self._free(flocked):
                    self._fill(file)
                    stack.pop_all()  # it stays open until the lock ends
                    return file
            return None

    def _wait_for(self, user: Holder | None) -> None:
        """Wait a moment for another process, or raise StorageError."""
        name = "another process" if user is None else str(user)
        here = user is not None and user.host == self._me.host
        ending = user is not None and here and user.follows and is_orphan(user.pid, user.follows)
        if self.wait is not None:
            self.wait()
        elif not ending:
            away = user is not None and not here
            until = f"; if it dies, the lock ends {self.patience:.0f} s later" if away else ""
            raise StorageError(f"{self.what} is used by {name}{until}; wait, or choose another out=")
        if not self._said:
            self.say(f"waiting for {name}, which uses {self.what}")
            self._said = True
        time.sleep(POLL)

    def _free(self, flocked: bool) -> bool:
        """Whether nobody alive holds the lock. Raises StorageError if somebody does, and this process must not wait."""
        before, state = _holder(self.path), _state(self.path)
        if state.size == 0:
            return True
        name = "an unknown process" if before is None else str(before)
        here = before is not None and before.host == self._me.host and before.boot in ("", self._me.boot)
        if not (flocked and here):
            self.say(f"watching the lock of {name} for {self.patience:.0f} s: it may still use {self.what}")
            if self._changes(state):
                self._wait_for(before)
                return False
        self.say(f"took over {self.what} from {name}, which is dead")
        return True

    def _changes(self, before: State) -> bool:
        """Whether the lock file changes within `patience` seconds."""
        end = time.monotonic() + self.patience
        while time.monotonic() < end:
            time.sleep(min(POLL, self.patience / 10))
            if _state(self.path) != before:
                return True
        return False

    def _fill(self, file: TextIO) -> None:
        """Write the holder. On a full disk, leave no file: without content, it is no lock."""
        try:
            with named(self.path):
                self._write(file)
        except OSError:
            self.path.unlink(missing_ok=True)
            raise

    def _write(self, file: TextIO) -> None:
        file.truncate(0)
        os.pwrite(file.fileno(), json.dumps(asdict(self._me)).encode(), 0)

    def _keep_alive(self) -> None:
        """Renew the time of the lock file until the lock ends."""
        pause = min(1.0, self.beat)  # two processes may have taken it at the same moment: this is seen soon
        while not self._left.wait(pause):
            pause = self.beat
            if taken := self._taken():
                self.on_lost(f"{self.what} was taken over by {taken}; this process ends, that one continues")
                return
            with contextlib.suppress(OSError):  # a short failure of a network file system
                os.utime(self.path)

    def _taken(self) -> Holder | None:
        """Return the process that has taken the lock over; None if there is none."""
        holder = _holder(self.path)
        return None if holder is None or holder.token == self._me.token else holder


class FolderLock(Lock):
    """Locks a run folder by the file `.lock` in it (see `Lock`)."""

    def __init__(self, folder: Path, say: Callable[[str], None] = lambda line: None, **more: Any) -> None:
        super().__init__(folder / ".lock", str(folder), say, **more)


class OutputLock(Lock):
    """Locks an output by the file `.<name>.lock` beside it (see `Lock`). The folder of the output must exist."""

    def __init__(self, output: Path, say: Callable[[str], None] = lambda line: None, **more: Any) -> None:
        super().__init__(output.with_name(f".{output.name}.lock"), str(output), say, **more)


@contextlib.contextmanager
def kept_output(path: Path, say: Callable[[str], None], wait: Callable[[], None]) -> Iterator[bool]:
    """Lock an output of which the user also sees what is in it.

    Yields False in a folder that cannot be written: then what was found is printed only. Raises as `OutputLock` if
    another process has it.
    """
    with contextlib.ExitStack() as stack:
        writable = True
        try:
            stack.enter_context(OutputLock(path, say, wait=wait))
            remove_stale(path.parent, path.name)
        except (OSError, StorageError) as error:
            if not cannot_write(error):
                raise
            writable = False
            say(f"{path} cannot be written: what is found is printed, and not kept")
        yield writable


@dataclass(frozen=True)
class State:
    """What changes when a lock is renewed, taken over or given up."""

    inode: int = 0
    changed: int = 0
    size: int = 0


def _state(path: Path) -> State:
    """Return the state of a lock file. It is opened, because a network file system then asks its server."""
    try:
        with open(path, "rb") as file:
            found = os.fstat(file.fileno())
            return State(found.st_ino, found.st_mtime_ns, found.st_size)
    except FileNotFoundError:
        return State()


def _holder(path: Path) -> Holder | None:
    """Return the process in a lock file, the first if two have written; None if there is no readable one."""
    try:
        held, _ = json.JSONDecoder().raw_decode(read_small(path, LARGEST).decode())
        more = str(held.get("boot", "")), str(held.get("token", "")), int(held.get("follows", 0))
        return Holder(int(held["pid"]), str(held["host"]), *more)
    except (OSError, DataError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def _boot() -> str:
    try:
        return BOOT.read_text().strip()
    except OSError:
        return ""


def _end(line: str) -> None:
    """End this process at once: it must not write what another process writes now. Nothing is lost."""
    print_line(f"vgm2p: {line}")
    os._exit(StorageError.exit_code)
