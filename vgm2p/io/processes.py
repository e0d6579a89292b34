"""Child processes that end when their parent ends, even if the parent was killed."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping

PARENT = "VGM2P_PARENT"  # environment variable of a child: the process id of its parent
FOLLOWED: list[int] = []  # the parent with which this process ends; at most one
SECONDS = 0.5  # time between two checks whether the parent still runs


def child_environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment variables of a child: those of this process, one CPU thread, the parent's id, `more`."""
    return {**os.environ, "OMP_NUM_THREADS": "1", PARENT: str(os.getpid()), **(more or {})}


def follow(parent: int) -> None:
    """Remember that this process ends when the process `parent` has ended."""
    FOLLOWED[:] = [parent]


def followed() -> int:
    """Return the process whose end ends this process; 0 if there is none."""
    return FOLLOWED[0] if FOLLOWED else 0


def is_orphan(process: int, parent: int) -> bool:
    """Return whether a process of this machine runs although the process `parent`, which has started it, has ended."""
    import psutil  # here, because `bench step` needs torch and numpy alone

    try:
        return bool(psutil.Process(process).ppid() != parent)
    except psutil.Error:
        return False


def terminate() -> None:
    """Send SIGTERM to this process, so that it saves its state and ends."""
    os.kill(os.getpid(), signal.SIGTERM)


def end_with_parent(end: Callable[[], None] = terminate) -> None:
    """Call `end` when the parent has ended. A background thread waits for this.

    Does nothing in a process that was not started with `child_environment`. The variable `PARENT` is removed, so that
    children of this process do not inherit it.
    """
    parent = os.environ.pop(PARENT, None)
    if parent is None:
        return
    follow(int(parent))

    def watch() -> None:
        while os.getppid() == int(parent):
            time.sleep(SECONDS)
        end()

    threading.Thread(target=watch, daemon=True).start()
