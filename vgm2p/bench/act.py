"""`bench act`: milliseconds per step of acting, from one network pass to a planner's thirty; no simulator is needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import torch

from vgm2p.algos.bc_diffusion import BCDiffusion
from vgm2p.algos.bc_flow import BCFlow
from vgm2p.algos.contract import Algorithm
from vgm2p.algos.planner import Planner
from vgm2p.algos.vgm2p import VGM2P
from vgm2p.bench.shapes import SHAPES
from vgm2p.bench.timing import in_turn, machine, settings, timer, write
from vgm2p.errors import ConfigError, nearest
from vgm2p.groups import Net
from vgm2p.io.text import grid, say
from vgm2p.nn.unet import UNetSize
from vgm2p.rng import ActKey
from vgm2p.types import Seen, Spec

DEFAULTS: dict[str, Any] = {
    "shape": "3m",
    "episodes": 1,
    "width": 512,
    "depth": 4,
    "planner_width": 64,
    "levels": ["1", "2", "4"],
    "rounds": 5,
    "count": 1,
    "threads": 1,
    "device": "cpu",
    "out": "bench",
}
PLANNERS: dict[str, dict[str, Any]] = {
    "dof": {"attention": False, "visible": "all", "weighted": True},
    "madiff_c": {"attention": True, "visible": "all"},
    "madiff_d": {"attention": True, "visible": "one"},
}


def main(words: Sequence[str]) -> None:
    """Print milliseconds per step of all episodes (CPU time; CUDA: device time). Raises ConfigError for wrong words."""
    options = settings(words, DEFAULTS)
    if options["shape"] not in SHAPES:
        raise ConfigError(f"bench: shape='{options['shape']}' is unknown{nearest(options['shape'], list(SHAPES))}")
    if not all(level.isdecimal() and int(level) for level in options["levels"]):
        raise ConfigError(f"bench: levels must be whole numbers from 1 on, got '{','.join(options['levels'])}'")
    torch.set_num_threads(options["threads"])
    say(f"machine {machine()}")
    spec, device = SHAPES[options["shape"]].spec, options["device"]
    timers = {name: timer(acting(made, options), device) for name, made in algorithms(spec, options).items()}
    found = in_turn(timers, options["rounds"], options["count"])
    say(table(found))
    write(
        options["out"], f"act-{device}-{options['shape']}", {"machine": machine(), "options": options, "times": found}
    )


def algorithms(spec: Spec, options: dict[str, Any]) -> dict[str, Algorithm]:
    """Return the algorithms to compare, each in its own way to act."""
    net = Net(options["width"], options["depth"])
    size = UNetSize(options["planner_width"], [int(level) for level in options["levels"]])
    plain = {"vgm2p, 1 step": VGM2P, "bc_flow, 10 steps": BCFlow, "bc_diffusion, 10 steps": BCDiffusion}
    found: dict[str, Algorithm] = {name: cls(spec, [0], net=net) for name, cls in plain.items()}
    return found | {f"{name}, 15 steps": Planner(spec, [0], net=size, **kind) for name, kind in PLANNERS.items()}


def acting(algorithm: Algorithm, options: dict[str, Any]) -> Callable[[], Any]:
    """Return a function that acts one step in all episodes, with the memory of a longer past."""
    algorithm.to(options["device"])
    spec, episodes = algorithm.spec, options["episodes"]
    obs = torch.randn(1, episodes, spec.n_agents, spec.obs_dim, device=options["device"])
    legal = None if not spec.discrete else obs.new_ones((*obs.shape[:-1], spec.action_dim)).bool()
    key, numbers = ActKey([0], 0, range(episodes), options["device"]), count()
    memory: Any = None

    @torch.inference_mode()
    def step() -> Any:
        nonlocal memory
        action, memory = algorithm.act(Seen(obs, legal), memory, key.at(next(numbers)))
        return action

    return step


def table(found: dict[str, dict[str, Any]]) -> str:
    """Return milliseconds per step, and how many times those of the first algorithm."""
    first = next(iter(found.values()))["ms"]
    lines = [["acting", "ms per step", "x the first"]]
    return grid([*lines, *([name, f"{x['ms']:.3g}", f"{x['ms'] / first:.3g}"] for name, x in found.items())])
