"""One whole update as a CUDA graph: its time on a GPU is that of many kernel launches, and a replay needs one launch.

The captured function is the one that runs eagerly; it reads static tables (`rng.StaticKey`), and every tensor that it
changes keeps its address. Warm-up and capture perform real updates, so the state is put back afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from vgm2p.rng import StaticKey

WARM_UP = 3  # updates before capture: lazy initialisation of libraries, constants and tables


class Captured:
    """Runs `step(key)` for one update after another by replaying a graph of it.

    Args:
        step: does one update with the randomness of a key.
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
                key.at(WARM_UP)  # before capture, which would record its writes to the positions
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
    """Put the state back afterwards, in place; tensors that came into being meanwhile begin at zero."""
    before = list(state())
    # detached: a graph of autograd, made on this stream, would draw the backward passes under capture to it
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
