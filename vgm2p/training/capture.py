"""One whole update as a CUDA graph. An update spends its time on many kernel launches; a replay needs one launch.

The graph is captured from the same function that otherwise runs eagerly. Its random numbers come from static tables
(`rng.StaticKey`), and every tensor that it changes keeps its address. Warm-up and capture do real updates, so the state
is restored afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from vgm2p.rng import StaticKey

WARM_UP = 3  # number of updates before the capture; they initialise libraries, constants and tables


class Captured:
    """Captures `step(key)` as a CUDA graph, and replays it for each update.

    Args:
        step: does one update with the random numbers of a key.
        state: returns every tensor that `step` changes.
        key: the static key.
    """

    def __init__(
        self, step: Callable[[StaticKey], None], state: Callable[[], Sequence[Tensor]], key: StaticKey
    ) -> None:
        self.key = key
        with untouched(state):
            side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for update in range(WARM_UP):
                    step(key.at(update))
                key.at(WARM_UP)  # before the capture; otherwise the graph would contain its writes
            torch.cuda.current_stream().wait_stream(side)
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph, stream=side):
                step(key)

    def __call__(self, update: int) -> None:
        """Do update number `update`."""
        self.key.at(update)
        self._graph.replay()


@contextmanager
def untouched(state: Callable[[], Sequence[Tensor]]) -> Iterator[None]:
    """Restore the state in place after the block. Tensors that were created in the block are set to zero."""
    before = list(state())
    # detached: otherwise autograd would run the captured backward passes on the present stream
    kept = [tensor.detach().clone() for tensor in before]
    try:
        yield
    finally:
        known = {id(tensor) for tensor in before}
        with torch.no_grad():
            for tensor, value in zip(before, kept, strict=True):
                tensor.copy_(value)
            for tensor in state():
                if id(tensor) not in known:
                    tensor.zero_()
