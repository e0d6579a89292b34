"""`bench data`: a batch from the resident dataset, beside ways that read item by item."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vgm2p.bench.timing import in_turn, machine, ratio, settings, timer, write
from vgm2p.errors import MissingInput
from vgm2p.report.grid import grid
from vgm2p.rng import UpdateKey

DEFAULTS: dict[str, Any] = {"transitions": 200_000, "batch": 64, "rounds": 7, "out": "bench"}
AGENTS, ROBOT, EPISODE = 6, 17, 1000


def main(words: Sequence[str]) -> None:
    """Print microseconds per batch, and the memory of a million transitions. Raises MissingInput without h5py."""
    options = settings(words, DEFAULTS)
    try:
        from datamodules.schema import read
        from datamodules.schema import write as write_columns
        from datamodules.store import TransitionStore
    except ImportError as error:
        raise MissingInput("bench data needs the package h5py; run `pip install h5py`") from error
    torch.set_num_threads(1)
    print(f"machine {machine()}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.h5"
        write_columns(path, columns(options["transitions"]))
        store = TransitionStore.load([path], verify="never")
        steps = read(path, verify="never").steps
        versions = {
            "resident": resident(store, options["batch"]),
            "tensors, item by item": item_by_item(steps, options["batch"]),
            "HDF5, item by item": from_file(path, options["batch"]),
        }
        counts = {"resident": 500, "tensors, item by item": 50, "HDF5, item by item": 3}
        timers = {name: scaled(timer(step, "cpu"), counts[name]) for name, step in versions.items()}
        found = in_turn(timers, options["rounds"], 1)
    lines = [["batch of 64, 6-agent HalfCheetah", "us", "x item by item HDF5"]]
    for name, result in found.items():
        lines.append([name, f"{1e3 * result['ms']:.0f}", f"{ratio(found, 'HDF5, item by item', name):.0f}"])
    print(grid(lines))
    held = store.summary["bytes"] / store.summary["transitions"] * 1e6 / 1e9
    print(f"1e6 transitions resident: {held:.3f} GB (6 agents x 23 float32 alone: 0.552 GB)")
    write(options["out"], "data", {"machine": machine(), "options": options, "times": found, "gb_per_million": held})


def scaled(measure: Any, count: int) -> Any:
    """Return a timer that always runs `count` batches."""
    return lambda unused: measure(count)


def columns(transitions: int) -> Any:
    """Return random episodes of a robot in our layout."""
    from datamodules.schema import TIMEOUT, Columns

    rng, episodes = np.random.default_rng(0), transitions // EPISODE
    rows = np.full(episodes, EPISODE + 1)
    total = int(rows.sum())
    start = np.cumsum(rows) - rows
    acting = np.ones(total, np.uint8)
    acting[start + EPISODE] = 0
    timeout = np.zeros(total, np.uint8)
    timeout[start + EPISODE - 1] = 1
    steps = {
        "robot_observation": rng.normal(size=(total, ROBOT)).astype(np.float32),
        "actions": rng.uniform(-1, 1, (total, AGENTS, 1)).astype(np.float32),
        "rewards": rng.normal(size=total).astype(np.float32),
        "terminal": np.zeros(total, np.uint8),
        "timeout": timeout,
        "has_action": acting,
        "t": (np.arange(total) - np.repeat(start, rows)).astype(np.int32),
    }
    table = {
        "start": start.astype(np.int64),
        "rows": rows.astype(np.int32),
        "length": np.full(episodes, EPISODE, np.int32),
        "return": np.add.reduceat(steps["rewards"].astype(np.float64), start),
        "end": np.full(episodes, TIMEOUT, np.uint8),
    }
    attributes = {"name": "synthetic", "n_agents": AGENTS, "action_dim": 1, "discrete": 0, "episode_limit": EPISODE,
                  "env_id": "synthetic", "env_kwargs": "{}"}  # fmt: skip
    return Columns(steps, table, attributes)


def resident(store: Any, batch: int) -> Callable[[], Any]:
    """Return a function that draws the next batch from the resident dataset."""
    key, update = UpdateKey([0]), 0

    def step() -> Any:
        nonlocal update
        update += 1
        return store.draw(key.at(update), batch)

    return step


def item_by_item(steps: dict[str, Any], batch: int) -> Callable[[], Any]:
    """Return a function that collects a batch one row at a time from arrays in memory."""
    tensors = [torch.from_numpy(steps[name]) for name in ("robot_observation", "actions", "rewards")]
    rng = np.random.default_rng(0)

    def step() -> Any:
        rows = rng.integers(len(steps["t"]) - 1, size=batch).tolist()
        items = [[tensor[row] for tensor in tensors] + [tensors[0][row + 1]] for row in rows]
        return [torch.stack(column) for column in zip(*items, strict=True)]

    return step


def from_file(path: Path, batch: int) -> Callable[[], Any]:
    """Return a function that reads a batch one row at a time from the file."""
    import h5py

    file = h5py.File(path, "r")
    sets = [file["steps"][name] for name in ("robot_observation", "actions", "rewards")]
    rng = np.random.default_rng(0)

    def step() -> Any:
        rows = rng.integers(len(sets[2]) - 1, size=batch).tolist()
        return [[np.asarray(one[row]) for one in sets] + [sets[0][row + 1]] for row in rows]

    return step
