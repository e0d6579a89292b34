"""Make the batches of several updates with one call, because a call costs more than copying its rows."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from vgm2p.types import Batch

DEPTH = 2  # number of spans that threads make ahead


class Prefetcher:
    """Returns the batch of an update. The batches of a span, that is `span` consecutive updates, are made together.

    Without threads, a span is made when `take` first needs one of its batches. With threads, the next DEPTH spans are
    made during the updates, so that updates rarely wait for the disk.

    Args:
        make: function start -> batches of the updates start .. start + span - 1 along a leading axis. It may be called
            in any thread.
        span: number of updates in a span.
        threads: number of threads that call `make`. 0: the thread that calls `take` does it.
        deliver: function that is applied to each span in the thread that calls `take`.
    """

    def __init__(
        self,
        make: Callable[[int], Batch],
        span: int,
        threads: int = 0,
        deliver: Callable[[Batch], Batch] = lambda made: made,
    ) -> None:
        self._make, self._span, self._deliver = make, span, deliver
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="batches") if threads else None
        self._coming: deque[tuple[int, Future[Batch]]] = deque()  # consecutive spans
        self._at, self._batches = -1, list[Batch]()

    def take(self, update: int) -> Batch:
        """Return the batch of `update`. Raises the errors of `make`, for example OSError."""
        at, offset = divmod(update, self._span)
        if at != self._at:
            self._batches = []  # after an error in `make`, a batch of the old span must not be returned
            made = self._make(at * self._span) if self._pool is None else self._awaited(at, self._pool)
            self._batches, self._at = self._deliver(made).unbind(), at
        return self._batches[offset]

    def _awaited(self, at: int, pool: ThreadPoolExecutor) -> Batch:
        if not self._coming or self._coming[0][0] != at:  # the first request, or not the next span
            for _, future in self._coming:
                future.cancel()
            self._coming.clear()
        while len(self._coming) <= DEPTH:
            following = at + len(self._coming)
            self._coming.append((following, pool.submit(self._make, following * self._span)))
        return self._coming.popleft()[1].result()

    def close(self) -> None:
        """End the threads. Calls of `make` that are running are finished, waiting ones are dropped."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
