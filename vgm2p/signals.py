"""SIGTERM and SIGINT set a flag. It is checked between updates and between environment steps, so no state is lost."""

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

    While `graceful` is False, there is no state to save, and a signal ends the command at once. While it is True, a
    signal only sets the flag; the code that checks the flag saves the state and stops. Later signals then have no
    effect, so they cannot interrupt the saving.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self.graceful = False

    def install(self) -> None:
        """Handle SIGTERM and SIGINT. Call it again when a fit begins, because Lightning installs its own handlers."""
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, self._handle)

    def requested(self) -> bool:
        """Return whether the command should stop at the next safe point."""
        return self.signum is not None

    def interruption(self, line: str) -> Interrupted:
        """Return the error that ends the command with exit code 128 + signal number."""
        return Interrupted(self.signum or signal.SIGTERM, line)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        self.signum = self.signum or signum
        if not self.graceful:
            raise Interrupted(
                signum, f"stopped by {signal.Signals(signum).name} before training began; nothing to save"
            )


class Held:
    """The signals that arrived while a library must not be interrupted. `release` delivers the first of them."""

    def __init__(self) -> None:
        self.signum: int | None = None
        self.before: dict[int, Any] = {}

    def release(self) -> None:
        """Deliver the first signal to its handler, if one arrived."""
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
    """Delay SIGTERM and SIGINT until `release` or the end of the block.

    Outside the main thread this does nothing, because Python delivers signals to the main thread only.
    """
    held = Held()

    def note(signum: int, frame: FrameType | None) -> None:
        held.signum = held.signum or signum

    def restore() -> None:
        for signum, handler in held.before.items():
            signal.signal(signum, handler)

    mine = threading.current_thread() is threading.main_thread()
    # `getsignal` returns None for a handler that was not set from Python; such a handler could not be restored
    numbers = [number for number in (signal.SIGTERM, signal.SIGINT) if mine and signal.getsignal(number) is not None]
    try:
        for signum in numbers:
            held.before[signum] = signal.getsignal(signum)
            signal.signal(signum, note)
        yield held
    except BaseException:
        restore()
        held.release()  # the signal takes precedence over the error of the block
        raise
    restore()
    held.release()
