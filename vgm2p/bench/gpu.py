"""`bench gpu`: milliseconds per update on a CUDA device, eager and captured, one seed and six, by precision.

Checks first that captured and eager updates end in the same float32 bits. `device=cpu` runs the same code without
capture, to try it out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch

from vgm2p.algos.vgm2p import VGM2P
from vgm2p.bench.shapes import SHAPES, SyntheticData
from vgm2p.bench.timing import in_turn, machine, settings, timer, write
from vgm2p.errors import MissingInput
from vgm2p.groups import Net
from vgm2p.io.text import grid, say
from vgm2p.nn.fast.kernels import tf32_products
from vgm2p.rng import StaticKey
from vgm2p.training.capture import Captured

DEFAULTS: dict[str, Any] = {
    "shape": "hc",
    "device": "cuda",
    "rounds": 5,
    "count": 200,
    "width": 512,
    "depth": 4,
    "checks": 20,
    "out": "bench",
}
# as in runs: name -> trainer.tf32, autocast type
PRECISIONS = {
    "float32": (False, None),
    "tf32": (True, None),
    "bf16-mixed": (False, torch.bfloat16),
    "bf16-mixed, tf32": (True, torch.bfloat16),
}


class Training:
    """Updates of S seeds on synthetic data with a static key, eager or captured."""

    def __init__(self, seeds: int, options: dict[str, Any], dtype: torch.dtype | None, captured: bool) -> None:
        device, spec = options["device"], SHAPES[options["shape"]].spec
        self.data = SyntheticData(spec, device=device)
        net = Net(options["width"], options["depth"])
        self.algorithm = VGM2P(spec, range(seeds), net=net).to(device)
        self.key, self.dtype, self.device, self.done = StaticKey(range(seeds), device), dtype, device, 0
        self._replay = Captured(self._update, self.algorithm.state, self.key) if captured else None

    def step(self) -> None:
        """Do the next update."""
        if self._replay is not None:
            self._replay(self.done)
        else:
            self._update(self.key.at(self.done))
        self.done += 1

    def _update(self, key: StaticKey) -> None:
        inside = torch.autocast(self.device, self.dtype, cache_enabled=False) if self.dtype else nullcontext()
        with inside:
            self.algorithm.update(self.data.draw(key, 64), key)


def main(words: Sequence[str]) -> None:
    """Print the table. Raises MissingInput without a CUDA device."""
    options = settings(words, DEFAULTS)
    cuda = options["device"] == "cuda"
    if cuda and not torch.cuda.is_available():
        raise MissingInput("bench gpu needs a CUDA device; torch finds none (device=cpu tries the code out)")
    say(f"machine {machine()}")
    say(f"captured and eager float32 after {options['checks']} updates: {agreement(options, cuda)}")
    versions: dict[str, Callable[[], Any]] = {}
    found: dict[str, Any] = {}
    for name, (tf32, dtype) in PRECISIONS.items():
        for captured in (False, True) if cuda else (False,):
            with tf32_products(tf32):
                versions = {
                    f"{name}, {'captured' if captured else 'eager'}, S={seeds}": Training(
                        seeds, options, dtype, captured
                    ).step
                    for seeds in (1, 6)
                }
                timers = {label: timer(step, options["device"]) for label, step in versions.items()}
                found |= in_turn(timers, options["rounds"], options["count"])
    say(grid([["version", "ms per update"], *([name, f"{result['ms']:.3f}"] for name, result in found.items())]))
    write(options["out"], f"gpu-{options['device']}", {"machine": machine(), "options": options, "times": found})


def agreement(options: dict[str, Any], captured: bool) -> str:
    """Return the largest difference between the states of captured and eager training, as text."""
    one, two = (Training(1, options, None, captured and which) for which in (False, True))
    for _ in range(options["checks"]):
        one.step()
        two.step()
    apart = max(
        (a.double() - b.double()).abs().max().item()
        for a, b in zip(one.algorithm.state(), two.algorithm.state(), strict=True)
    )
    return "bit-equal" if apart == 0 else f"largest difference {apart:.2g}"
