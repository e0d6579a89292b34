"""Child processes that end when the process that started them ends, in whatever way it ended."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping

PARENT = "VGM2P_PARENT"  # in the environment of a child: the number of the process that started it
SECONDS = 0.5  # between looks at whether the parent still runs


def child_environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for a child of this process: one CPU thread, the parent's number, and `more`."""
    return {**os.environ, "OMP_NUM_THREADS": "1", PARENT: str(os.getpid()), **(more or {})}


def terminate() -> None:
    """Send SIGTERM to this process, as if somebody asked it to stop: it saves its state first."""
    os.kill(os.getpid(), signal.SIGTERM)


def end_with_parent(end: Callable[[], None] = terminate) -> None:
    """Call `end`, in a thread of its own, when the parent is gone.

    Does nothing in a process that was not started with `child_environment`. Children of this process are not asked to
    end with a grandparent: the variable is removed.
    """
    parent = os.environ.pop(PARENT, None)
    if parent is None:
        return

    def watch() -> None:
        while os.getppid() == int(parent):
            time.sleep(SECONDS)
        end()

    threading.Thread(target=watch, daemon=True).start()
