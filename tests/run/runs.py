"""Real runs of the program on the bundled data and real MuJoCo, at a budget of seconds."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path

import torch

from tests.run import zygote

FILES = ("metrics.csv", "episodes.csv", "results.json")
BUDGET = {
    "updates": 60,
    "eval_every": 20,
    "checkpoint_every": 10,
    "eval_episodes": 1,
    "log_every": 7,
    "logger.tensorboard": "null",
    "net.width": 16,
    "net.depth": 1,
    "optim.decay_updates": 10_000,  # with `updates`, a run that was first shorter gives other numbers than a whole one
    "data.batch_size": 8,
    "compare": "[]",
    "env.episode_limit": 60,
    "block_updates": 7,
    "callbacks.plot": "null",
    "trainer.threads": 1,
}
SMALL = {"updates": 20, "eval_every": 10, "checkpoint_every": 10}

# a dataset whose time limit is that of the shortened environment is not at hand: the limit is patched on both sides
SHORT = """
import dataclasses
import sys
from vgm2p.datamodules.store.transitions import TransitionStore
TransitionStore.spec = property(lambda store: dataclasses.replace(store.rows.spec, episode_limit=60))
"""


def words(out: Path, **changes) -> list[str]:
    """Return the words of a small run; a change to None leaves the key as the program has it."""
    keys = {**BUDGET, "out": str(out)} | {key.replace("__", "."): value for key, value in changes.items()}
    return ["fit", *(f"{key}={value}" for key, value in keys.items() if value is not None)]


def environment() -> dict[str, str]:
    root = Path(__file__).resolve().parents[2]
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}


def start(out: Path, patch: str = "", **changes) -> zygote.Child:
    return zygote.Child(words(out, **changes), Path.cwd(), environment(), SHORT + patch)


def run(out: Path, patch: str = "", **changes) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory() as scratch:
        return zygote.run(words(out, **changes), Path.cwd(), environment(), Path(scratch), SHORT + patch)


def succeeded(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    """Return a command that has ended, and fail with what it said where it did not succeed."""
    assert done.returncode == 0, done.stderr
    return done


def newest(out: Path) -> Path:
    return sorted((out / "checkpoints").glob("*.ckpt"))[-1]


def content(out: Path):
    return torch.load(newest(out), weights_only=True)


def same_bits(a, b, where="") -> list[str]:
    """Return where two nested structures of tensors differ."""
    if isinstance(a, torch.Tensor):
        return [] if torch.equal(a, b) and a.dtype == b.dtype else [where]
    if isinstance(a, dict):
        if a.keys() != b.keys():
            return [f"{where} keys {sorted(map(str, a.keys() ^ b.keys()))}"]
        return [found for key in a for found in same_bits(a[key], b[key], f"{where}.{key}")]
    if isinstance(a, list | tuple):
        return [found for i, pair in enumerate(zip(a, b, strict=True)) for found in same_bits(*pair, f"{where}[{i}]")]
    return [] if a == b else [f"{where}: {a} != {b}"]


def differences(first: Path, second: Path, files: tuple[str, ...] = FILES) -> list[str]:
    """Return where parameters, moments, counters, logs and results of two finished runs differ."""
    one, two = content(first), content(second)
    found = [line for part in ("state_dict", "optimizer_states") for line in same_bits(one[part], two[part], part)]
    found += same_bits(one["vgm2p"]["updates"], two["vgm2p"]["updates"], "updates")
    return found + [name for name in files if contents(first / name) != contents(second / name)]


def contents(path: Path) -> bytes | None:
    """Return the bytes of a file; None if it does not exist."""
    return path.read_bytes() if path.exists() else None


def results(out: Path) -> dict:
    return json.loads((out / "results.json").read_text())


def program(cwd, *arguments, **variables):
    with tempfile.TemporaryDirectory() as scratch:
        return zygote.run(list(arguments), cwd, {**environment(), **variables}, Path(scratch), timeout=280)
