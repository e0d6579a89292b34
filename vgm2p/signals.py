"""SIGTERM and SIGINT: a flag polled between updates and between environment steps, so that no state is lost."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from vgm2p.errors import Interrupted


class StopFlag:
    """Remembers the first SIGTERM or SIGINT.

    Before `graceful` is set nothing can be lost and the signal ends the command at once; afterwards it only raises the
    flag, and whoever polls it saves and stops. Later signals then change nothing: a save under way is not disturbed.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self.graceful = False

    def install(self) -> None:
        """Take over SIGTERM and SIGINT (again: Lightning installs its own handlers when fit begins)."""
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, self._handle)

    def requested(self) -> bool:
        """Whether to stop at the next safe point."""
        return self.signum is not None

    def interruption(self, line: str) -> Interrupted:
        """Return the error that ends the command with 128 + signal number."""
        return Interrupted(self.signum or signal.SIGTERM, line)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        self.signum = self.signum or signum
        if not self.graceful:
            raise Interrupted(
                signum, f"stopped by {signal.Signals(signum).name} before training began; nothing to save"
            )


class Held:
    """SIGTERM and SIGINT that came while a library must not be interrupted; `release` delivers the first of them."""

    def __init__(self) -> None:
        self.signum: int | None = None
        self.before: dict[int, Any] = {}

    def release(self) -> None:
        """Do what the signal would have done, if one came."""
        if self.signum is None:
            return
        signum, self.signum = self.signum, None
        handler = self.before[signum]
        if callable(handler):
            handler(signum, None)
        elif handler != signal.SIG_IGN:
            signal.signal(signum, handler)
            signal.raise_signal(signum)


@contextmanager
def held_back() -> Iterator[Held]:
    """Hold signals back until `release`, or until the end; in the main thread, to which Python delivers them."""
    held = Held()

    def note(signum: int, frame: FrameType | None) -> None:
        held.signum = held.signum or signum

    def restore() -> None:
        for signum, handler in held.before.items():
            signal.signal(signum, handler)

    mine = threading.current_thread() is threading.main_thread()
    # a handler that was not set from Python is None, and cannot be put back
    numbers = [number for number in (signal.SIGTERM, signal.SIGINT) if mine and signal.getsignal(number) is not None]
    try:
        for signum in numbers:
            held.before[signum] = signal.getsignal(signum)
            signal.signal(signum, note)
        yield held
    except BaseException:
        restore()
        held.release()  # a signal counts more than the error that came meanwhile
        raise
    restore()
    held.release()
