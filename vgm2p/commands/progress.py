"""Lines of progress of `vgm2p estimate`, and its end by a signal."""

from __future__ import annotations

import time
from collections.abc import Callable

from vgm2p.io.text import say
from vgm2p.run.folder import format_seconds
from vgm2p.run.speed import Speed
from vgm2p.signals import StopFlag

SECONDS = 10.0  # between lines of progress


class Progress:
    """Says every few seconds how far the work on a policy is; ends it with `stopped` when a signal asks to stop."""

    def __init__(
        self,
        name: str,
        stop: StopFlag,
        stopped: str,
        clock: Callable[[], float] = time.monotonic,
        show: Callable[[str], None] = say,
    ) -> None:
        self.name, self.stop, self.stopped, self.clock, self.show = name, stop, stopped, clock, show
        self._what, self._speed, self._last = "", Speed(0, clock()), clock() - SECONDS / 2

    def __call__(self, what: str, done: int, total: int) -> None:
        """Take notice of `done` of `total` steps or updates. Raises Interrupted."""
        if self.stop.requested():
            raise self.stop.interruption(self.stopped)
        now = self.clock()
        if what != self._what:
            self._what, self._speed = what, Speed(done, now)
        if now - self._last < SECONDS and done < total:
            return
        self._last = now
        self._speed.look(done, now, 0.0)
        left = self._speed.left(total - done)
        rest = "?" if left is None else format_seconds(left)
        self.show(f"{self.name}  {what} {done}/{total}  {self._speed.rate:.1f} {what}s/s  left {rest}")
