"""One process at a time: per run folder, or while something that several runs share is prepared."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from vgm2p.errors import StorageError


@contextlib.contextmanager
def one_at_a_time(path: Path, what: str, say: Callable[[str], None]) -> Iterator[None]:
    """Hold a lock file while `what` is prepared; it ends with its process. Whoever has to wait is told."""
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another process that prepares {what}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


class FolderLock:
    """Context manager holding `<folder>/.lock` with pid and host; a dead process's lock is taken over.

    Raises StorageError if another living process holds it.

    Args:
        folder: the run folder.
        say: told when the lock of a dead process is taken over.
    """

    def __init__(self, folder: Path, say: Callable[[str], None] = lambda line: None) -> None:
        self.path, self.say = folder / ".lock", say

    def __enter__(self) -> FolderLock:
        for _ in range(3):
            if self._create():
                return self
            self._judge()
        raise StorageError(
            f"{self.path.parent}: several runs start in this folder at once; wait, or choose another out="
        )

    def __exit__(self, *unused: Any) -> None:
        self.path.unlink(missing_ok=True)

    def _create(self) -> bool:
        me = {"pid": os.getpid(), "host": socket.gethostname(), "started": psutil.Process().create_time()}
        written = self.path.with_name(f".lock.{os.getpid()}.tmp")
        written.write_text(json.dumps(me))
        try:
            os.link(written, self.path)  # atomic, and the file is whole from the start
        except FileExistsError:
            return False
        finally:
            written.unlink()
        return True

    def _judge(self) -> None:
        """Remove the lock of a dead process, or refuse."""
        try:
            held = json.loads(self.path.read_text())
            pid, host, started = int(held["pid"]), str(held["host"]), float(held["started"])
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError):
            raise StorageError(f"{self.path}: unreadable lock; delete it if no run is using the folder") from None
        if host != socket.gethostname():
            raise StorageError(
                f"{self.path.parent} is used by process {pid} on {host}; delete .lock there if that run is dead"
            )
        if _alive(pid, started):
            raise StorageError(
                f"{self.path.parent} is used by process {pid} on this machine; wait, or choose another out="
            )
        grave = self.path.with_name(f".lock.{os.getpid()}.stale.tmp")
        with contextlib.suppress(FileNotFoundError):
            os.rename(self.path, grave)  # of several takers one wins the rename, and the name is free again
            grave.unlink()
            self.say(f"took over the folder from process {pid}, which is dead")


def _alive(pid: int, started: float) -> bool:
    try:
        return abs(psutil.Process(pid).create_time() - started) < 1.0
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
