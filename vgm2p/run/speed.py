"""How fast updates are done, and how long the rest takes."""

from __future__ import annotations


class Speed:
    """Updates per second since the last look, and the time that is left at that speed.

    Time for which training waits for evaluations is not part of the speed. It is part of the time left, in proportion
    to the updates.

    Args:
        done: updates so far.
        now: seconds on some clock.
    """

    def __init__(self, done: int, now: float) -> None:
        self._first = self._done = done
        self._now = now
        self._waited = 0.0
        self.rate = 0.0

    def look(self, done: int, now: float, waited: float) -> None:
        """Measure the interval that ends now; `waited`: seconds of all evaluations so far."""
        seconds = (now - self._now) - (waited - self._waited)
        if done > self._done and seconds > 0:
            self.rate = (done - self._done) / seconds
            self._done, self._now, self._waited = done, now, waited

    def left(self, remaining: int) -> float | None:
        """Return the seconds that `remaining` updates take, or None before the first update."""
        if not self.rate:
            return None
        return remaining * (1 / self.rate + self._waited / (self._done - self._first))
