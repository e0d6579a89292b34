"""Times several versions in turn, so that changes of the machine's speed meet all of them; ratios of the times."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from vgm2p.errors import ConfigError, nearest
from vgm2p.io.files import write_atomic
from vgm2p.io.text import say

Timer = Callable[[int], tuple[float, float]]  # updates -> milliseconds per update: (device time, wall time)


def timer(step: Callable[[], Any], device: str) -> Timer:
    """Return a timer of `step`: CPU time of this process, or CUDA events."""

    def on_cpu(count: int) -> tuple[float, float]:
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(count):
            step()
        return 1e3 * (time.process_time() - cpu) / count, 1e3 * (time.perf_counter() - wall) / count

    def on_cuda(count: int) -> tuple[float, float]:
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
        wall = time.perf_counter()
        first.record()
        for _ in range(count):
            step()
        last.record()
        torch.cuda.synchronize()
        return first.elapsed_time(last) / count, 1e3 * (time.perf_counter() - wall) / count

    return on_cuda if device == "cuda" else on_cpu


def in_turn(timers: Mapping[str, Timer], rounds: int, count: int) -> dict[str, dict[str, Any]]:
    """Time every version once per round after a warm-up; return medians and the rounds themselves."""
    for measure in timers.values():
        measure(min(count, 5))
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in timers}
    for _ in range(rounds):
        for name, measure in timers.items():
            found[name].append(measure(count))
    return {
        name: {
            "ms": statistics.median(t for t, _ in times),
            "wall_ms": statistics.median(w for _, w in times),
            "rounds_ms": [t for t, _ in times],
            "rounds_wall_ms": [w for _, w in times],
        }
        for name, times in found.items()
    }


def ratio(results: Mapping[str, Mapping[str, Any]], base: str, name: str, clock: str = "rounds_ms") -> float:
    """Return how many times as fast as `base` a version is: the median over rounds of their ratio in the same round."""
    pairs = zip(results[base][clock], results[name][clock], strict=True)
    return float(statistics.median(a / b for a, b in pairs))


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    return {
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
        "torch": torch.__version__,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def settings(words: Sequence[str], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Read `key=value` words into a copy of the defaults, in their types. Raises ConfigError for wrong words."""
    read = dict(defaults)
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in defaults:
            raise ConfigError(f"bench: unknown word '{word}'{nearest(key, list(defaults))}")
        kind = type(defaults[key])
        try:
            read[key] = value.split(",") if kind is list else (value == "true" if kind is bool else kind(value))
        except ValueError as error:
            raise ConfigError(f"bench: {key} must be {kind.__name__}, got '{value}'") from error
        if kind is int and read[key] < 1:
            raise ConfigError(f"bench: {key} must be 1 or more, got {value}")
        if key == "device":
            _require(value)
    return read


def _require(device: str) -> None:
    if device not in ("cpu", "cuda"):
        raise ConfigError(f"bench: device must be cpu or cuda, got '{device}'")
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("bench: device=cuda: torch finds no CUDA device; use device=cpu")


def write(out: str, name: str, content: Mapping[str, Any]) -> None:
    """Write `<out>/<name>.json`."""
    path = Path(out) / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps(content, indent=1) + "\n")
    say(f"written to {path}")
