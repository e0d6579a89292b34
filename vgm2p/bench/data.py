"""`bench data`: a batch from memory, from mapped files and item by item; loading beside reading the plain bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vgm2p.bench.timing import in_turn, machine, ratio, settings, timer, write
from vgm2p.errors import ConfigError, MissingInput
from vgm2p.io.files import sha256_file
from vgm2p.io.scratch import scratch_folder
from vgm2p.io.text import grid, say
from vgm2p.rng import UpdateKey

DEFAULTS: dict[str, Any] = {"transitions": 200_000, "load": 1_000_000, "batch": 64, "rounds": 7, "out": "bench"}
AGENTS, ROBOT, EPISODE = 6, 17, 1000


def main(words: Sequence[str]) -> None:
    """Print microseconds per batch, memory of a million transitions, and what loading costs. MissingInput sans h5py."""
    options = settings(words, DEFAULTS)
    for key in ("transitions", "load"):
        if options[key] < EPISODE:
            raise ConfigError(f"bench: {key} must be {EPISODE} (one episode) or more, got {options[key]}")
    try:
        import h5py  # noqa: F401
    except ImportError as error:
        raise MissingInput("bench data needs the package h5py; run `pip install h5py`") from error
    torch.set_num_threads(1)
    say(f"machine {machine()}")
    with scratch_folder("bench") as folder:
        batches, held = measure_batches(folder, options)
        loads = measure_loading(folder, options)
    found = {"machine": machine(), "options": options, "times": batches, "gb_per_million": held, "loading": loads}
    write(options["out"], "data", found)


def measure_batches(folder: Path, options: dict[str, Any]) -> tuple[dict[str, Any], float]:
    """Print what a batch costs; return the times, and the memory of a million transitions in GB."""
    from vgm2p.datamodules.layout.reading import read
    from vgm2p.datamodules.layout.writing import write as write_columns
    from vgm2p.datamodules.store.transitions import TransitionStore

    path = folder / "data.h5"
    write_columns(path, columns(options["transitions"]))
    store = TransitionStore.load([path], verify="never")
    mapped = TransitionStore.map([path], folder, "raw_onehot", "auto", "bootstrap", "never", lambda line: None)
    steps = read(path, verify="never").steps
    versions = {
        "resident": (resident(store, options["batch"]), 500),
        "mapped, made ahead": (resident(mapped, options["batch"]), 200),
        "tensors, item by item": (item_by_item(steps, options["batch"]), 50),
        "HDF5, item by item": (from_file(path, options["batch"]), 3),
    }
    timers = {name: scaled(timer(step, "cpu"), count) for name, (step, count) in versions.items()}
    found = in_turn(timers, options["rounds"], 1)
    mapped.close()
    lines = [[f"batch of {options['batch']}, 6-agent HalfCheetah", "us", "x item by item HDF5"]]
    for name, result in found.items():
        lines.append([name, f"{1e3 * result['ms']:.0f}", f"{ratio(found, 'HDF5, item by item', name):.0f}"])
    say(grid(lines))
    held = store.summary["bytes"] / store.summary["transitions"] * 1e6 / 1e9
    say(f"1e6 transitions resident: {held:.3f} GB (6 agents x 23 float32 alone: 0.552 GB)")
    return found, held


def measure_loading(folder: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Print what reading a file into tensors costs, beside np.fromfile of the same bytes, page cache warm."""
    from vgm2p.datamodules.layout.reading import read
    from vgm2p.datamodules.layout.writing import write as write_columns

    path, plain = folder / "load.h5", folder / "load.bin"
    made = columns(options["load"])
    robot = made.steps.pop("robot_observation")
    made.steps["observations"] = np.repeat(np.pad(robot, ((0, 0), (0, AGENTS)))[:, None], AGENTS, 1)
    write_columns(path, made)
    with open(plain, "wb") as file:
        for array in made.steps.values():
            array.tofile(file)
    size = plain.stat().st_size
    del made, robot

    def load(verify: str) -> Any:
        return [torch.from_numpy(array) for array in read(path, verify).steps.values()]

    versions: dict[str, Callable[[], Any]] = {
        "np.fromfile": lambda: torch.from_numpy(np.fromfile(plain, np.uint8)),
        "our file, chunks checked": lambda: load("never"),
        "our file, content hashed": lambda: load("full"),
        "SHA-256 alone": lambda: sha256_file(plain),
    }
    found = in_turn({name: timer(step, "cpu") for name, step in versions.items()}, options["rounds"], 1)
    lines = [[f"loading {size / 1e6:.0f} MB into tensors", "ms", "CPU ms", "x np.fromfile", "x in CPU time"]]
    for name, result in found.items():
        wall, cpu = (1 / ratio(found, "np.fromfile", name, clock) for clock in ("rounds_wall_ms", "rounds_ms"))
        lines.append([name, f"{result['wall_ms']:.0f}", f"{result['ms']:.0f}", f"{wall:.2f}", f"{cpu:.2f}"])
    say(grid(lines))
    return found


def scaled(measure: Any, count: int) -> Any:
    """Return a timer that always runs `count` batches."""
    return lambda unused: measure(count)


def columns(transitions: int) -> Any:
    """Return random episodes of a robot in our layout."""
    from vgm2p.datamodules.layout.episodes import Episodes
    from vgm2p.datamodules.layout.schema import TIMEOUT

    rng, count = np.random.default_rng(0), transitions // EPISODE
    episodes = Episodes(np.full(count, EPISODE), np.full(count, TIMEOUT), finals=True)
    acting = episodes.has_action
    steps = {
        "robot_observation": rng.normal(size=(episodes.total, ROBOT)).astype(np.float32),
        "actions": (rng.uniform(-1, 1, (episodes.total, AGENTS, 1)) * acting[:, None, None]).astype(np.float32),
        "rewards": (rng.normal(size=episodes.total) * acting).astype(np.float32),
    }
    attributes = {
        "name": "synthetic",
        "n_agents": AGENTS,
        "action_dim": 1,
        "discrete": 0,
        "episode_limit": EPISODE,
        "env_id": "synthetic",
        "env_kwargs": "{}",
    }
    return episodes.columns(steps, attributes)


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
