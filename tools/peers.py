"""Our updates beside those of their authors' code, in turn in one run, at equal rows and sizes, on one thread.

    python -m tools.peers omiga    <clone of the authors' repository> [--width 512] [--batch 64] [--rounds 9]
    python -m tools.peers mac_flow <clone of the authors' repository> --python <python that has jax and flax>

A clone stays where it is: nothing of it is copied. Both sides draw no data; every update sees the same random batch.
Times are CPU times of a process. MAC-Flow's newest commit lacks `agents/macflow.py`: take it from commit 6245080.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from vgm2p.algos.contract import Algorithm
from vgm2p.algos.mac_flow import MACFlow
from vgm2p.algos.omiga import OMIGA
from vgm2p.algos.parts import CriticSettings
from vgm2p.bench.shapes import SHAPES, SyntheticData
from vgm2p.bench.timing import Timer, in_turn, machine, ratio, timer
from vgm2p.groups import Net
from vgm2p.io.text import grid
from vgm2p.rng import UpdateKey
from vgm2p.types import Batch

THEIRS = "authors' code"
SPEC = SHAPES["hc"].spec
MAC_FLOW_DEPTH = 4
OMIGA_DEPTH, OMIGA_GAMMA, OMIGA_LR = 2, 0.99, 5e-4
PRECISIONS = {"ours, float32": None, "ours, bf16-mixed": torch.bfloat16}


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.peers")
    parser.add_argument("algorithm", choices=["omiga", "mac_flow"])
    parser.add_argument("clone", type=Path)
    parser.add_argument("--python", default=sys.executable, help="runs the authors' JAX code")
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--count", type=int, default=20, help="updates per round")
    return parser.parse_args()


def batch_of(rows: int) -> Batch:
    """Return one batch of random transitions of six agents, with its next actions."""
    batch = SyntheticData(SPEC).draw(UpdateKey([0]).at(0), rows)
    return replace(batch, next_action=batch.action.flip(1))


def ours(algorithm: Algorithm, batch: Batch, dtype: torch.dtype | None) -> Callable[[], Any]:
    """Return our update."""
    key, done = UpdateKey([0]), 0

    def step() -> Any:
        nonlocal done
        done += 1
        with torch.autocast("cpu", dtype, cache_enabled=False) if dtype else nullcontext():
            return algorithm.step(batch, key.at(done))

    return step


def our_omiga(width: int) -> Algorithm:
    """Return our OMIGA in the authors' sizes: V and Q of two layers, without LayerNorm."""
    critic = CriticSettings(members=1, layer_norm=False)
    return OMIGA(SPEC, [0], net=Net(width, OMIGA_DEPTH, "relu"), critic=critic, gamma=OMIGA_GAMMA)


def their_omiga(batch: Batch, options: argparse.Namespace) -> Timer:
    """Return a timer of the authors' OMIGA; their observations carry no agent id."""
    sys.path.insert(0, str(options.clone))
    module = importlib.import_module("algos.OMIGA")
    config = {
        "gamma": OMIGA_GAMMA,
        "tau": 0.005,
        "hidden_sizes": options.width,
        "mix_hidden_sizes": 64,
        "batch_size": len(batch.reward[0]),
        "lr": OMIGA_LR,
        "grad_norm_clip": 1.0,
        "device": "cpu",
    }
    agent = module.OMIGA(SPEC.obs_dim, SPEC.action_dim, SPEC.n_agents, None, config)
    one = batch.seed(0).map(lambda tensor: tensor[0])
    reward, mask = one.reward.unsqueeze(-1), one.bootstrap.unsqueeze(-1)
    return timer(
        lambda: agent.train_step(
            one.obs, one.obs, one.action, reward, mask, one.next_obs, one.next_obs, one.next_action
        ),
        "cpu",
    )


def our_mac_flow(width: int) -> Algorithm:
    """Return our MAC-Flow in the authors' sizes."""
    return MACFlow(SPEC, [0], net=Net(width, MAC_FLOW_DEPTH))


def their_mac_flow(batch: Batch, options: argparse.Namespace) -> Timer:
    """Return a timer of the authors' MAC-Flow in a process of its own; it has as many rows, in windows of two steps."""
    sizes = {"width": options.width, "depth": MAC_FLOW_DEPTH, "rows": len(batch.reward[0])}
    sizes |= {"agents": SPEC.n_agents, "obs": SPEC.obs_dim, "actions": SPEC.action_dim}
    command = [options.python, str(Path(__file__).with_name("peers_jax.py")), str(options.clone), json.dumps(sizes)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdin is not None
    assert process.stdout is not None
    sent, received = process.stdin, process.stdout

    def measure(count: int) -> tuple[float, float]:
        print("run", count, file=sent, flush=True)
        answer = received.readline().split()
        if len(answer) != 2:
            raise SystemExit("tools.peers: the authors' code stopped; its message is above")
        return float(answer[0]), float(answer[1])

    return measure


PAIRS = {"omiga": (our_omiga, their_omiga), "mac_flow": (our_mac_flow, their_mac_flow)}


def main() -> None:
    """Print milliseconds per update and how many times as fast ours is."""
    options = arguments()
    torch.set_num_threads(1)
    batch = batch_of(options.batch)
    mine, theirs = PAIRS[options.algorithm]
    timers = {THEIRS: theirs(batch, options)}
    timers |= {name: timer(ours(mine(options.width), batch, dtype), "cpu") for name, dtype in PRECISIONS.items()}
    found = in_turn(timers, options.rounds, options.count)
    lines = [["one update", "ms", "x authors' code"]]
    lines += [[name, f"{found[name]['ms']:.2f}", f"{ratio(found, THEIRS, name):.2f}"] for name in found]
    print(f"machine {machine()}")
    print(grid(lines))


if __name__ == "__main__":
    main()
