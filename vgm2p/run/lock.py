"""Locks: one process per run folder, and one process that prepares a file that several runs share."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from vgm2p.errors import StorageError
from vgm2p.io.files import open_own


@contextlib.contextmanager
def one_at_a_time(path: Path, what: str, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock file `path` while this process prepares `what`. A process that must wait prints a line.

    The lock ends with the process. Raises StorageError if the lock file is a link.
    """
    with open_own(path, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another process that prepares {what}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


class FolderLock:
    """Context manager that locks `<folder>/.lock`. The file contains the process and its machine.

    The lock ends with the process. Raises StorageError if another process holds the lock, if a process on another
    machine may hold it, or if the file is a link.

    Args:
        folder: the run folder.
        say: prints a line when this process takes over the folder of a dead process.
    """

    def __init__(self, folder: Path, say: Callable[[str], None] = lambda line: None) -> None:
        self.path, self.say = folder / ".lock", say
        self._file: TextIO | None = None

    def __enter__(self) -> FolderLock:
        while self._file is None:
            self._file = self._locked()
        return self

    def __exit__(self, *unused: Any) -> None:
        assert self._file is not None
        self.path.unlink(missing_ok=True)  # before the lock ends: the next process then sees that the file is gone
        self._file.close()
        self._file = None

    def _locked(self) -> TextIO | None:
        """Return the locked file; None if its last holder deleted it in the meantime."""
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(open_own(self.path, "a+"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                user = _named(_holder(file))
                raise StorageError(f"{self.path.parent} is used by {user}; wait, or choose another out=") from None
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), self.path.stat()):
                    self._take_over(file)
                    stack.pop_all()  # it stays open until the run ends
                    return file
            return None

    def _take_over(self, file: TextIO) -> None:
        """Write this process into the file. Raises StorageError if the last holder may still run elsewhere."""
        file.seek(0)
        before = _holder(file)
        if before is not None and before.host != socket.gethostname():
            raise StorageError(
                f"{self.path.parent} is used by {_named(before)}; delete .lock there if that run is dead"
            )
        file.seek(0)
        if before is None and file.read():
            raise StorageError(f"{self.path}: unreadable lock; delete it if no run is using the folder")
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
        file.flush()
        if before is not None:
            self.say(f"took over the folder from process {before.pid}, which is dead")


@dataclass(frozen=True)
class Holder:
    """The process that wrote a lock file, and its machine."""

    pid: int
    host: str


def _holder(file: TextIO) -> Holder | None:
    try:
        file.seek(0)
        held = json.loads(file.read())
        return Holder(int(held["pid"]), str(held["host"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _named(holder: Holder | None) -> str:
    if holder is None:
        return "another process"
    return f"process {holder.pid} on {'this machine' if holder.host == socket.gethostname() else holder.host}"
