"""One process at a time: per run folder, or while something that several runs share is prepared."""

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
    """Hold a lock file while `what` is prepared; it ends with its process. A process that has to wait says so.

    Raises StorageError if a link stands in the place of the lock file.
    """
    with open_own(path, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another process that prepares {what}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


class FolderLock:
    """Context manager that holds `<folder>/.lock`, locked as long as this process lives; the file names the process.

    Raises StorageError if another process holds it, one of another machine may hold it, or it is a link.

    Args:
        folder: the run folder.
        say: told when the folder of a dead process is taken over.
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
        self.path.unlink(missing_ok=True)  # before it is unlocked: a process that waits for it finds that it is gone
        self._file.close()
        self._file = None

    def _locked(self) -> TextIO | None:
        """Return the file, locked and ours; None where its last holder took it away meanwhile."""
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
        """Write who holds the lock now. Raises StorageError where nobody here can tell whether its holder lives."""
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
