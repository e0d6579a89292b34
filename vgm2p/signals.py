"""SIGTERM and SIGINT: a flag polled between updates and between environment steps, so that no state is lost."""

from __future__ import annotations

import signal
from types import FrameType

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
