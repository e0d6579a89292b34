"""Hashing and writing beside reading: slabs handed to consumers, each in a thread of its own, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

DEPTH = 2  # slabs on their way: memory is bounded, and reading rarely waits


class Beside:
    """Context manager that runs calls in named lanes: calls of a lane run one after another, lanes side by side.

    What a call raises is raised here, by the next call or at the end.
    """

    def __init__(self) -> None:
        self._lanes: dict[str, ThreadPoolExecutor] = {}
        self._slabs: deque[list[Future[Any]]] = deque()

    def __enter__(self) -> Beside:
        return self

    def __call__(self, **calls: Callable[[], Any]) -> None:
        """Run calls for one slab, by lane; returns when at most DEPTH slabs are unfinished."""
        for lane in calls.keys() - self._lanes.keys():
            self._lanes[lane] = ThreadPoolExecutor(1)
        self._slabs.append([self._lanes[lane].submit(call) for lane, call in calls.items()])
        while len(self._slabs) > DEPTH:
            self._finish()

    def join(self) -> None:
        """Wait until everything handed over is done. Raises what a call raised."""
        while self._slabs:
            self._finish()

    def _finish(self) -> None:
        done = self._slabs.popleft()
        wait(done)
        for future in done:
            future.result()

    def __exit__(self, kind: Any, *unused: Any) -> None:
        try:
            if kind is None:
                self.join()
        finally:
            for pool in self._lanes.values():
                pool.shutdown(wait=True, cancel_futures=True)
