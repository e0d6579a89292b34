"""Batches of the next updates, made together: one call costs more than copying its rows does."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from vgm2p.types import Batch

DEPTH = 2  # spans made ahead in threads


class Prefetcher:
    """Hands over the batch of an update; those of `span` updates are made at once.

    Without threads they are made when the first of them is asked for. With threads, the next DEPTH spans are made
    meanwhile: the disk is waited for beside the updates.

    Args:
        make: returns the batches of updates start .. start + span - 1 along a leading axis; called in any thread.
        span: updates made at once.
        threads: how many make them; 0: the thread that asks.
        deliver: applied to what was made, in the thread that asks.
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
        """Return the batch of `update`. Raises what `make` raised, for example OSError."""
        at, offset = divmod(update, self._span)
        if at != self._at:
            self._batches = []  # where the next ones cannot be made, none of these is handed over in their place
            made = self._make(at * self._span) if self._pool is None else self._awaited(at, self._pool)
            self._batches, self._at = self._deliver(made).unbind(), at
        return self._batches[offset]

    def _awaited(self, at: int, pool: ThreadPoolExecutor) -> Batch:
        if not self._coming or self._coming[0][0] != at:  # the first, or not the one after the last
            for _, future in self._coming:
                future.cancel()
            self._coming.clear()
        while len(self._coming) <= DEPTH:
            following = at + len(self._coming)
            self._coming.append((following, pool.submit(self._make, following * self._span)))
        return self._coming.popleft()[1].result()

    def close(self) -> None:
        """End the threads; what they are at is finished, the rest dropped."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
