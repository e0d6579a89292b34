"""`bench loop`: `Trainer.fit` over blocks beside the bare loop of updates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from vgm2p.algos.vgm2p import VGM2P
from vgm2p.bench.shapes import SHAPES, SyntheticData
from vgm2p.bench.timing import in_turn, machine, ratio, settings, timer, write
from vgm2p.errors import MissingInput
from vgm2p.groups import Net
from vgm2p.io.text import grid, say
from vgm2p.rng import UpdateKey

DEFAULTS: dict[str, Any] = {
    "shape": "hc",
    "device": "cpu",
    "threads": 1,
    "rounds": 5,
    "count": 100,
    "width": 512,
    "depth": 4,
    "out": "bench",
}
BLOCKS = {"cpu": (1, 50), "cuda": (1, 200)}


class Data(SyntheticData):
    """Synthetic data as the module's source."""

    resident = True

    def to(self, device: Any) -> Any:
        """Move to a device."""
        self.columns = {name: column.to(device) for name, column in self.columns.items()}
        return self


def main(words: Sequence[str]) -> None:
    """Print milliseconds per update with and without Lightning. Raises MissingInput without Lightning."""
    options = settings(words, DEFAULTS)
    torch.set_num_threads(options["threads"])
    say(f"machine {machine()}")
    device, count = options["device"], options["count"]
    data = Data(SHAPES[options["shape"]].spec, device=device)
    timers = {"bare loop": timer(bare(data, options), device)}
    for block in BLOCKS[device]:
        timers[f"Trainer.fit, K={block}"] = per_update(timer(fitted(data, options, block), device), count)
    found = in_turn(timers, options["rounds"], count)
    lines = [["loop", "ms per update", "x bare loop"]]
    lines += [[name, f"{found[name]['ms']:.2f}", f"{1 / ratio(found, 'bare loop', name):.3f}"] for name in found]
    say(grid(lines))
    write(options["out"], f"loop-{device}", {"machine": machine(), "options": options, "times": found})


def algorithm_of(data: Data, options: dict[str, Any]) -> VGM2P:
    """Return the algorithm that both loops train."""
    return VGM2P(data.spec, [0], net=Net(options["width"], options["depth"])).to(options["device"])


def bare(data: Data, options: dict[str, Any]) -> Callable[[], Any]:
    """Return a function that does the next update."""
    algorithm, key, done = algorithm_of(data, options), UpdateKey([0], options["device"]), 0

    def step() -> Any:
        nonlocal done
        done += 1
        return algorithm.update(data.draw(key.at(done), 64), key)

    return step


def fitted(data: Data, options: dict[str, Any], block: int) -> Callable[[], Any]:
    """Return a function that fits the next `count` updates in blocks, logging once per block."""
    try:
        from vgm2p.training.trainer import make_trainer, quiet
    except ImportError as error:
        raise MissingInput("bench loop needs the packages of pyproject.toml; run `make install`") from error
    quiet()
    from vgm2p.datamodules.offline import Blocks
    from vgm2p.training.module import OfflineModule

    module = OfflineModule(algorithm_of(data, options), data, 64)

    def run() -> None:
        trainer = make_trainer(torch.device(options["device"]), "32-true")
        blocks = Blocks(module.done, module.done + options["count"], block, [10**9])
        trainer.fit(module, train_dataloaders=blocks)

    return run


def per_update(measure: Any, count: int) -> Any:
    """Return a timer of one call that does `count` updates."""
    return lambda unused: tuple(x / count for x in measure(1))
