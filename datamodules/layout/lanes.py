"""Hash and write slabs while the next ones are read. Each consumer has its own thread and gets the slabs in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

DEPTH = 2  # largest number of unfinished slabs: it bounds the memory, and reading rarely waits


class Lanes:
    """Context manager that runs calls in named lanes.

    The calls of one lane run one after another. Different lanes run at the same time. If a call raises an error, a
    later `run` or the end of the context raises it again.
    """

    def __init__(self) -> None:
        self._lanes: dict[str, ThreadPoolExecutor] = {}
        self._slabs: deque[list[Future[Any]]] = deque()

    def __enter__(self) -> Lanes:
        return self

    def run(self, **calls: Callable[[], Any]) -> None:
        """Run one call per lane for one slab. Return when at most DEPTH slabs are unfinished."""
        for lane in calls.keys() - self._lanes.keys():
            self._lanes[lane] = ThreadPoolExecutor(1)
        self._slabs.append([self._lanes[lane].submit(call) for lane, call in calls.items()])
        while len(self._slabs) > DEPTH:
            self._finish()

    def _finish(self) -> None:
        done = self._slabs.popleft()
        wait(done)
        for future in done:
            future.result()

    def __exit__(self, kind: Any, *unused: Any) -> None:
        try:
            while kind is None and self._slabs:
                self._finish()
        finally:
            for pool in self._lanes.values():
                pool.shutdown(wait=True, cancel_futures=True)
