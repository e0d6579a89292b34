"""`make test-resume KILLS=20`: runs are killed or signalled at random moments, then the same command finishes them.

Kinds of ends: `save` and `moment` (kill -9), `elsewhere` (kill -9; then the lock names another machine), `HUP` and `USR1`,
`first` (SIGTERM within the first three seconds), `joblib` (kill -9 of the command of a sweep with two workers).
"""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.run.runs import differences, environment, program, run, start, words

KINDS = ("save", "moment", "HUP", "USR1", "first", "elsewhere", "save", "moment", "joblib", "first")
FIRST_SECONDS = 3.0

# a save that dawdles before its rename, so that a kill can be aimed into it
SLOW_SAVE = """
import vgm2p.io.files as files, os, time
real_replace = os.replace
def slow(source, target):
    if str(target).endswith(".ckpt"):
        print("SAVING", flush=True)
        time.sleep(0.4)
    real_replace(source, target)
files.os.replace = slow
"""
BROKEN_KEY = """
import os, vgm2p.rng as rng
rng.derive = lambda *parts: int.from_bytes(os.urandom(7), "little")
"""


def kill_after(process, seconds: float) -> None:
    time.sleep(seconds)
    process.kill()
    process.wait()


def kill_in_save(process, number: int) -> None:
    """Kill during the `number`-th save."""
    seen = 0
    for line in process.stdout:
        seen += line.startswith("SAVING")
        if seen == number:
            time.sleep(0.1)
            break
    process.kill()
    process.wait()


def signalled(process, seconds: float, signum: int) -> str:
    """Send a signal after some seconds. Return what is wrong with the end of the run."""
    time.sleep(seconds)
    with contextlib.suppress(ProcessLookupError):  # it has ended
        process.send_signal(signum)
    _, errors = process.communicate(timeout=240)
    if process.returncode == 0 or (process.returncode == -signum and not errors):
        return ""  # it had ended, or Python itself had just started
    lines = errors.splitlines()
    good = process.returncode == 128 + signum and len(lines) == 1 and lines[0].startswith("vgm2p: stopped")
    return "" if good else f"exit {process.returncode} after {seconds:.1f} s: {errors.strip()[-150:]}"


def move_lock(out: Path) -> None:
    """Let the lock of a killed run be that of another machine."""
    lock = out / ".lock"
    if lock.exists():
        lock.write_text(json.dumps({**json.loads(lock.read_text()), "host": "another-machine"}))


def ended(process) -> str:
    """Return what is wrong with the end of a command that should have succeeded."""
    return "" if process.returncode == 0 else f"exit {process.returncode}: {process.stderr.strip()[-150:]}"


def interrupted_run(out: Path, kind: str, rng: random.Random, span: float) -> str:
    """Start a run of about `span` seconds, end it in the way `kind`, and run again to the end."""
    moment, found = rng.uniform(0.3, 1.0) * span, ""
    if kind == "save":
        kill_in_save(start(out, SLOW_SAVE), rng.randint(1, 6))
    elif kind in ("HUP", "USR1"):
        found = signalled(start(out), moment, getattr(signal, f"SIG{kind}"))
    elif kind == "first":
        command = [sys.executable, "-m", "vgm2p", *words(out)]
        process = subprocess.Popen(
            command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        found = signalled(process, rng.uniform(0.0, FIRST_SECONDS), signal.SIGTERM)
    else:
        kill_after(start(out), moment)
        if kind == "elsewhere":
            move_lock(out)
    return found or ended(run(out))


def interrupted_sweep(folder: Path, rng: random.Random) -> str:
    """Kill the command of a sweep while its two workers train, and run it again to the end. Return what differs."""
    keys = {
        "evaluate": "none",
        "env__episode_limit": None,
        "updates": 1200,
        "eval_every": 1200,
        "checkpoint_every": 100,
    }
    sweep = ["fit", "-m", *(word for word in words(folder, **keys)[1:] if not word.startswith("out=")), "seed=0,1"]
    whole = program(folder, *sweep, f"out={folder}/whole${{seed}}")
    cut = [*sweep, f"out={folder}/cut${{seed}}", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "vgm2p", *cut], env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 240
    while len(list(folder.glob("cut*/metrics.csv"))) < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    kill_after(process, rng.uniform(0.0, 2.0))
    command = [sys.executable, "-m", "vgm2p", *cut]
    again = subprocess.run(
        command, env=environment(), capture_output=True, text=True
    )  # at once: the workers still save
    found = ended(whole) or ended(again)
    files = ("metrics.csv", "results.json")
    pairs = [] if found else [(folder / f"whole{seed}", folder / f"cut{seed}") for seed in (0, 1)]
    return found or ", ".join(line for pair in pairs for line in differences(*pair, files))


def trial(kinds: list[str], seed: int, folder: Path) -> list[str]:
    """Return one line per end, of these kinds, after which a run is not bit-identical to the uninterrupted one."""
    rng = random.Random(seed)
    whole = folder / "whole"
    began = time.monotonic()
    done = run(whole)
    span = time.monotonic() - began
    if done.returncode:
        return [f"uninterrupted run: exit {done.returncode}: {done.stderr[-200:]}"]
    failures = []
    for i, kind in enumerate(kinds):
        out = folder / f"cut{i}"
        if kind == "joblib":
            out.mkdir()
            found = interrupted_sweep(out, rng)
        else:
            found = interrupted_run(out, kind, rng, span) or ", ".join(differences(whole, out))
        print(f"kill {i + 1:3} ({kind:9})  {found if found else 'bit-identical'}", flush=True)
        failures += [f"kill {i + 1} ({kind}): {found}"] if found else []
        shutil.rmtree(out)
    return failures


if __name__ == "__main__":
    count = int(sys.argv[1])
    with tempfile.TemporaryDirectory() as temporary:
        bad = trial([KINDS[i % len(KINDS)] for i in range(count)], 1, Path(temporary))
    print(f"{count - len(bad)} of {count} bit-identical")
    raise SystemExit(bool(bad))
