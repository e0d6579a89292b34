"""`make test-resume KILLS=20`: kill -9 at random moments, some during a save, then the same command until it is done."""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.run.runs import differences, run, start

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


def interrupted_run(out: Path, kill: str, rng: random.Random, span: float) -> str:
    """Start, kill -9 at a random moment of `span` seconds or inside a save, and run again to the end."""
    if kill == "save":
        kill_in_save(start(out, SLOW_SAVE), rng.randint(1, 6))
    else:
        kill_after(start(out), rng.uniform(0.3, 1.0) * span)
    done = run(out)
    return "" if done.returncode == 0 else f"exit {done.returncode}: {done.stderr.strip()[-150:]}"


def trial(kills: int, in_saves: int, seed: int, folder: Path) -> list[str]:
    """Return one line per kill whose run does not end bit-identical to the uninterrupted one."""
    rng = random.Random(seed)
    whole = folder / "whole"
    began = time.monotonic()
    done = run(whole)
    span = time.monotonic() - began
    if done.returncode:
        return [f"uninterrupted run: exit {done.returncode}: {done.stderr[-200:]}"]
    failures = []
    for i in range(kills):
        out, kind = folder / f"cut{i}", "save" if i < in_saves else "moment"
        found = interrupted_run(out, kind, rng, span) or ", ".join(differences(whole, out))
        print(f"kill {i + 1:3} ({kind:6})  {found if found else 'bit-identical'}", flush=True)
        failures += [f"kill {i + 1} ({kind}): {found}"] if found else []
        shutil.rmtree(out)
    return failures


if __name__ == "__main__":
    count = int(sys.argv[1])
    with tempfile.TemporaryDirectory() as temporary:
        bad = trial(count, min(5, count // 2), 1, Path(temporary))
    print(f"{count - len(bad)} of {count} bit-identical")
    raise SystemExit(bool(bad))
