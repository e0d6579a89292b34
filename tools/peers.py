"""Our updates beside those of their authors' code, in turn in one run, at equal rows and sizes.

    python -m tools.peers omiga <clone of the authors' repository> [--width 512] [--batch 64] [--rounds 9]

The clone stays where it is: nothing of it is copied. Both sides draw no data; every update sees the same random batch.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from vgm2p.algos.omiga import OMIGA
from vgm2p.algos.parts import CriticSettings
from vgm2p.bench.shapes import SHAPES, SyntheticData
from vgm2p.bench.timing import in_turn, machine, ratio, timer
from vgm2p.io.text import grid
from vgm2p.nn.mlp import Net
from vgm2p.rng import UpdateKey
from vgm2p.types import Batch

THEIRS = "authors' code"
SHAPE, DEPTH, GAMMA, LR = "hc", 2, 0.99, 5e-4  # depth and constants of the authors' code


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.peers")
    parser.add_argument("algorithm", choices=["omiga"])
    parser.add_argument("clone", type=Path)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--count", type=int, default=20, help="updates per round")
    return parser.parse_args()


def batch_of(rows: int) -> Batch:
    """Return one batch of random transitions of six agents, with its next actions."""
    batch = SyntheticData(SHAPES[SHAPE].spec).draw(UpdateKey([0]).at(0), rows)
    return replace(batch, next_action=batch.action.flip(1))


def ours(batch: Batch, width: int) -> Callable[[], Any]:
    """Return our update, in the authors' sizes: V and Q of two layers, without LayerNorm."""
    critic = CriticSettings(members=1, layer_norm=False)
    algorithm = OMIGA(SHAPES[SHAPE].spec, [0], net=Net(width, DEPTH, "relu"), critic=critic, gamma=GAMMA)
    key, done = UpdateKey([0]), 0

    def step() -> Any:
        nonlocal done
        done += 1
        return algorithm.step(batch, key.at(done))

    return step


def theirs(batch: Batch, width: int, clone: Path) -> Callable[[], Any]:
    """Return the update of the authors' OMIGA; their observations carry no agent id."""
    sys.path.insert(0, str(clone))
    module = importlib.import_module("algos.OMIGA")
    spec = SHAPES[SHAPE].spec
    config = {
        "gamma": GAMMA,
        "tau": 0.005,
        "hidden_sizes": width,
        "mix_hidden_sizes": 64,
        "batch_size": len(batch.reward[0]),
        "lr": LR,
        "grad_norm_clip": 1.0,
        "device": "cpu",
    }
    agent = module.OMIGA(spec.obs_dim, spec.action_dim, spec.n_agents, None, config)
    one = batch.seed(0).map(lambda tensor: tensor[0])
    reward, mask = one.reward.unsqueeze(-1), one.bootstrap.unsqueeze(-1)
    return lambda: agent.train_step(
        one.obs, one.obs, one.action, reward, mask, one.next_obs, one.next_obs, one.next_action
    )


def main() -> None:
    """Print milliseconds per update and how many times as fast ours is."""
    options = arguments()
    torch.set_num_threads(1)
    batch = batch_of(options.batch)
    versions = {
        THEIRS: theirs(batch, options.width, options.clone),
        "ours": ours(batch, options.width),
    }
    timers = {name: timer(step, "cpu") for name, step in versions.items()}
    found = in_turn(timers, options.rounds, options.count)
    lines = [["one update", "ms", "x authors' code"]]
    lines += [[name, f"{found[name]['ms']:.2f}", f"{ratio(found, THEIRS, name):.2f}"] for name in found]
    print(f"machine {machine()}")
    print(grid(lines))


if __name__ == "__main__":
    main()
