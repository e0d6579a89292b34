"""Signals that ask a command to stop set a flag. It is checked between updates and between environment steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from vgm2p.errors import Interrupted

ALWAYS = (signal.SIGTERM, signal.SIGINT)
# Schedulers and terminals announce the end of a job with these. `nohup` ignores SIGHUP, other programs may handle them.
UNLESS_TAKEN = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)
SIGNALS = (*ALWAYS, *UNLESS_TAKEN)


class StopFlag:
    """Remembers the first signal that asks to stop.

    While `graceful` is False, there is no state to save, and a signal ends the command at once. While it is True, a
    signal only sets the flag; the code that checks the flag saves the state and stops. Later signals then have no
    effect, so they cannot interrupt the saving.

    Attributes:
        signum: the first signal; None: none arrived.
        graceful: whether a signal only sets the flag.
        tell: called with the first signal, for example to stop worker processes.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self.graceful = False
        self.tell: Callable[[int], None] = lambda signum: None

    def install(self, also: tuple[int, ...] = ()) -> None:
        """Handle SIGTERM, SIGINT and `also`; other `SIGNALS` unless they are ignored or have another handler.

        Call it again when a fit begins, because Lightning installs its own handlers. Outside the main thread this does
        nothing, because Python delivers signals to the main thread only.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        for signum in SIGNALS:
            if signum in (*ALWAYS, *also) or signal.getsignal(signum) == signal.SIG_DFL:
                signal.signal(signum, self._handle)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handle the signals in this block (see `install`). Afterwards they have the handlers that they had before."""
        before = {signum: signal.getsignal(signum) for signum in SIGNALS}
        self.install()
        try:
            yield
        finally:
            for signum, handler in before.items():
                if handler is not None and signal.getsignal(signum) != handler:
                    signal.signal(signum, handler)

    def requested(self) -> bool:
        """Return whether the command should stop at the next safe point."""
        return self.signum is not None

    def let_through(self) -> None:
        """From now on, a signal ends the command at once. Raises Interrupted if one arrived before."""
        self.graceful = False
        self.check()

    def check(self) -> None:
        """Raise Interrupted if a signal arrived. For places where there is nothing to save."""
        if self.signum is not None:
            self._end(self.signum)

    def interruption(self, line: str) -> Interrupted:
        """Return the error that ends the command with exit code 128 + signal number."""
        return Interrupted(self.signum or signal.SIGTERM, line)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.signum is None:
            self.signum = signum
            self.tell(signum)
        if not self.graceful:
            self._end(signum)

    def _end(self, signum: int) -> None:
        raise Interrupted(signum, f"stopped by {signal.Signals(signum).name}; there was no new state to save")


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
        else:
            signal.signal(signum, handler)
            signal.raise_signal(signum)


@contextmanager
def held_back() -> Iterator[Held]:
    """Delay the signals that ask to stop until `release` or the end of the block.

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
    kept = (None, signal.SIG_IGN)
    numbers = [number for number in SIGNALS if mine and signal.getsignal(number) not in kept]
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
