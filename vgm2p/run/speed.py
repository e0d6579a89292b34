"""How fast updates are done, and how long the rest takes."""

from __future__ import annotations


class Speed:
    """Updates per second since the last measurement, and the time left at this speed.

    The time in which training waits for evaluations does not count for the speed. It counts for the time left, in
    proportion to the updates.

    Args:
        done: number of updates so far.
        now: time in seconds.
        waited: seconds of the evaluations so far, as of the untrained policy.
    """

    def __init__(self, done: int, now: float, waited: float = 0.0) -> None:
        self._first = self._done = done
        self._now = now
        self._before = self._waited = waited
        self.rate = 0.0

    def look(self, done: int, now: float, waited: float) -> None:
        """Measure the interval that ends at `now`. `waited`: seconds of all evaluations so far."""
        seconds = (now - self._now) - (waited - self._waited)
        if done > self._done and seconds > 0:
            self.rate = (done - self._done) / seconds
            self._done, self._now, self._waited = done, now, waited

    def left(self, remaining: int) -> float | None:
        """Return how many seconds `remaining` updates take; None before the first update."""
        if not self.rate:
            return None
        return remaining * (1 / self.rate + (self._waited - self._before) / (self._done - self._first))
