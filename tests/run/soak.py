"""`make test-soak MINUTES=30`: memory and open files of a long fit stay flat, with evaluations, checkpoints and logs."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.run.runs import start

GROWTH = 0.02  # of the resident memory, in the second half: the most that is flat
FILES = 2  # more open files at the end than at half time: the most that is flat
EVERY = 1.0  # seconds between two samples
LONG: dict[str, int | None] = {
    "updates": 1_000_000_000,
    "eval_every": 400,
    "checkpoint_every": 200,
    "log_every": 50,
    "logger.tensorboard": None,
}


def resident(pid: int) -> float:
    """Return the resident memory of a process in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 1e6


def open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def sampled(pid: int, seconds: float, alive: Callable[[], bool]) -> np.ndarray:
    """Return (samples, 3): seconds, resident MB and open files of a process."""
    began, rows = time.monotonic(), []
    while alive() and time.monotonic() - began < seconds:
        rows.append((time.monotonic() - began, resident(pid), open_files(pid)))
        time.sleep(EVERY)
    return np.array(rows)


def growth(samples: np.ndarray) -> tuple[float, float]:
    """Return what the second half adds: memory as a share of its mean (a straight line through it), and open files."""
    late = samples[len(samples) // 2 :]
    slope = np.polyfit(late[:, 0], late[:, 1], 1)[0]
    files = np.polyfit(late[:, 0], late[:, 2], 1)[0]
    span = late[-1, 0] - late[0, 0]
    return float(slope * span / late[:, 1].mean()), float(files * span)


def main(minutes: float, folder: Path) -> bool:
    """Train for some minutes, print the figures, and return whether both are flat."""
    process = start(folder / "run", **LONG)
    samples = sampled(process.pid, 60 * minutes, lambda: process.poll() is None)
    died = process.poll() is not None
    process.send_signal(signal.SIGTERM)
    out, errors = process.communicate(timeout=240)
    memory, files = growth(samples)
    half = samples[len(samples) // 2]
    print(f"{errors.strip().splitlines()[-1] if errors else out[-200:]}")
    print(f"{minutes:g} minutes, {len(samples)} samples; at half time {half[1]:.1f} MB and {half[2]:.0f} open files")
    print(
        f"second half: memory {memory:+.2%} (flat: below {GROWTH:+.0%}), open files {files:+.1f} (flat: below +{FILES})"
    )
    good = not died and memory < GROWTH and files < FILES
    print("flat" if good else "NOT flat")
    return good


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        raise SystemExit(not main(float(sys.argv[1]), Path(temporary)))
