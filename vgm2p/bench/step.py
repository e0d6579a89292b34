"""`bench step`: one gradient step of VGM2P in plain PyTorch, as the product does it, and in JAX."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

import vgm2p
from vgm2p.algos.parts import CriticSettings
from vgm2p.algos.vgm2p import VGM2P
from vgm2p.algos.vgm2p_switches import VGM2PSwitches
from vgm2p.bench.reference import Reference
from vgm2p.bench.shapes import SHAPES, SyntheticData
from vgm2p.bench.timing import Timer, in_turn, machine, ratio, settings, timer, write
from vgm2p.errors import ConfigError
from vgm2p.groups import Net
from vgm2p.io.scratch import scratch_folder
from vgm2p.io.text import grid, say
from vgm2p.rng import UpdateKey

DEFAULTS: dict[str, Any] = {
    "shapes": list(SHAPES),
    "device": "cpu",
    "threads": 1,
    "rounds": 7,
    "count": 10,
    "batch": 64,
    "width": 512,
    "depth": 4,
    "critic": "single",
    "jax": sys.executable,
    "out": "bench",
}
CRITICS = {"single": CriticSettings(members=1, layer_norm=False), "default": CriticSettings()}
LR = 3e-4
CHECKS = 3
TOLERANCE = {"float32": 1e-4, "bfloat16": 2e-2}
JAX_SCRIPT = Path(vgm2p.__file__).resolve().parents[1] / "tests" / "bench" / "jax_reference.py"


def main(words: Sequence[str]) -> None:
    """Print ratios at each shape. Raises ConfigError for wrong words, RuntimeError where versions disagree."""
    options = settings(words, DEFAULTS)
    if options["critic"] not in CRITICS or not set(options["shapes"]) <= set(SHAPES):
        raise ConfigError(f"bench: critic is {' or '.join(CRITICS)}, shapes are {','.join(SHAPES)}")
    torch.set_num_threads(options["threads"])
    say(f"machine {machine()}")
    results = {name: at_shape(name, options) for name in options["shapes"]}
    show(results, options)
    write(
        options["out"],
        f"step-{options['device']}-{options['critic']}",
        {"machine": machine(), "options": options, "results": results},
    )


def at_shape(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """Check that all versions give the same losses, then time them in turn."""
    device, spec = options["device"], SHAPES[name].spec
    data = SyntheticData(spec, device=device)
    versions: dict[str, Callable[[], Any]] = {}
    losses: dict[str, list[list[float]]] = {}
    for label, switches, dtype in VERSIONS:
        net, critic = Net(options["width"], options["depth"]), CRITICS[options["critic"]]
        cls = VGM2PSwitches if switches else VGM2P
        algorithm = cls(spec, [0], net=net, critic=critic, **switches).to(device)
        if label == "float32":
            reference = Reference(algorithm, options["width"], options["depth"], LR)
            problem = Problem(algorithm, data, options)
            losses["reference"], versions["reference"] = prepared(reference.update, data, options, None)
        losses[label], versions[label] = prepared(algorithm.update, data, options, dtype)
        if not switches:
            compare(
                losses["reference"], losses[label], TOLERANCE["bfloat16" if dtype else "float32"], f"{name} {label}"
            )
    timers = {label: timer(step, device) for label, step in versions.items()}
    with JaxReference(problem, options) as jax:
        if jax.timer is not None:
            compare(losses["reference"], jax.losses, 1e-3, f"{name} JAX")
            timers["JAX"] = jax.timer
        elif jax.note:
            say(f"JAX left out: {jax.note}")
        found = in_turn(timers, options["rounds"], options["count"])
    return {"times": found, "losses": losses}


# label, switches of VGM2PSwitches, autocast type
VERSIONS: list[tuple[str, dict[str, Any], torch.dtype | None]] = [
    ("float32", {}, None),
    ("bf16-mixed", {}, torch.bfloat16),
    ("float32 reuse_q", {"reuse_q": True}, None),
    ("bf16-mixed reuse_q", {"reuse_q": True}, torch.bfloat16),
    ("bf16 all reuse_q", {"reuse_q": True, "bf16_derivative": True}, torch.bfloat16),
]


def prepared(
    update: Callable[..., Any], data: SyntheticData, options: dict[str, Any], dtype: torch.dtype | None
) -> tuple[list[list[float]], Callable[[], Any]]:
    """Return the losses of the first updates, and a function that does the next update."""
    key, done = UpdateKey([0], options["device"]), 0

    def step() -> Any:
        nonlocal done
        done += 1
        inside = torch.autocast(options["device"], dtype, cache_enabled=False) if dtype else nullcontext()
        with inside:
            return update(data.draw(key.at(done - 1), options["batch"]), key)

    found = [step() for _ in range(CHECKS)]
    return [[float(info[name]) for name in ("critic_loss", "policy_loss")] for info in found], step


def compare(expected: list[list[float]], found: list[list[float]], tolerance: float, what: str) -> None:
    """Raise RuntimeError unless two versions have equal losses, up to a relative tolerance."""
    for update, (one, two) in enumerate(zip(expected, found, strict=True)):
        if any(abs(a - b) > tolerance * max(1.0, abs(a)) for a, b in zip(one, two, strict=True)):
            raise RuntimeError(f"bench: {what} differs from the reference in update {update}: {two}, not {one}")


class Problem:
    """Weights, data and noise of the first updates, for another process."""

    def __init__(self, algorithm: VGM2P, data: SyntheticData, options: dict[str, Any]) -> None:
        spec, key = algorithm.spec, UpdateKey([0], options["device"])
        self.arrays: dict[str, Any] = {f"data/{name}": column.cpu().numpy() for name, column in data.columns.items()}
        for name, net in (("policy", algorithm.policy), ("critic", algorithm.critic)):
            for i, layer in enumerate([*net.mlp.hidden, net.mlp.output]):  # type: ignore[union-attr, misc]
                index = (0,) if name == "policy" else (0, 0)
                self.arrays[f"{name}/weight{i}"] = layer.weight[index].detach().cpu().numpy().copy()
                self.arrays[f"{name}/bias{i}"] = layer.bias[index].detach().cpu().numpy().copy()
        actions = (options["batch"], spec.n_agents, spec.action_dim)
        for u in range(CHECKS):
            batch = data.draw(key.at(u), options["batch"])
            for name, value in vars(batch).items():
                if value is not None:
                    self.arrays[f"{u}/batch/{name}"] = value[0].cpu().numpy()
            noise = {
                "z": key.normal("imagine", (actions[0], 2, *actions[1:])),
                "times": key.uniform("times", (*actions[:-1], 2)),
                "eps": key.normal("flow_noise", actions),
            }
            self.arrays |= {f"{u}/noise/{name}": value[0].cpu().numpy() for name, value in noise.items()}
        self.settings = {
            "gamma": algorithm.gamma,
            "tau": algorithm.tau,
            "omega": algorithm.omega,
            "lr": LR,
            "checks": CHECKS,
            "discrete": spec.discrete,
            "agents": spec.n_agents,
            "action_dim": spec.action_dim,
            "batch": options["batch"],
        }


class JaxReference:
    """`tests/bench/jax_reference.py` in a process of its own. Without JAX `timer` is None, `note` says why."""

    def __init__(self, problem: Problem, options: dict[str, Any]) -> None:
        self.problem, self.options = problem, options
        self.timer: Timer | None = None
        self.losses: list[list[float]] = []
        self.note = ""

    def __enter__(self) -> JaxReference:
        python = self.options["jax"]
        if self.options["critic"] != "single" or self.options["device"] != "cpu" or python == "none":
            return self
        if not JAX_SCRIPT.is_file() or not _has_jax(python):
            self.note = f"{python} has no package jax (jax=<python that has it>), or this is no checkout"
            return self
        with scratch_folder("bench") as folder:
            np.savez(f"{folder}/problem.npz", **self.problem.arrays)
            Path(folder, "settings.json").write_text(json.dumps(self.problem.settings))
            command = [python, str(JAX_SCRIPT), f"{folder}/problem.npz", f"{folder}/settings.json"]
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            try:
                self.losses = json.loads(self._read())
            except BaseException:  # also a signal, while it starts
                self.process.kill()
                self.process.wait()
                raise
        self.timer = self._time
        return self

    def __exit__(self, *unused: Any) -> None:
        if self.timer is not None:
            self.process.kill()
            self.process.wait()

    def _time(self, count: int) -> tuple[float, float]:
        assert self.process.stdin is not None
        self.process.stdin.write(f"run {count}\n")
        self.process.stdin.flush()
        cpu, wall = self._read().split()
        return float(cpu), float(wall)

    def _read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()


def _has_jax(python: str) -> bool:
    try:
        return subprocess.run([python, "-c", "import jax; print(1)"], capture_output=True).stdout.strip() == b"1"
    except OSError:  # no such program
        return False


def show(results: dict[str, Any], options: dict[str, Any]) -> None:
    """Print milliseconds per update, and ratios to the reference and to JAX."""
    names = list(results)
    labels = list(next(iter(results.values()))["times"])
    lines = [["version", *(f"{name} ms" for name in names), *(f"{name} x ref" for name in names), "geo x JAX"]]
    for label in labels:
        times = [results[name]["times"] for name in names]
        row = [
            label,
            *(f"{t[label]['ms']:.1f}" for t in times),
            *(f"{ratio(t, 'reference', label):.2f}" for t in times),
        ]
        against = [ratio(t, "JAX", label) for t in times if "JAX" in t]
        row.append(f"{math.prod(against) ** (1 / len(against)):.2f}" if against else "")
        lines.append(row)
    say(grid(lines))
    say(f"critic: {options['critic']}; x ref, x JAX: times as fast; medians of {options['rounds']} rounds, in turn")
