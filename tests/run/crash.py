"""`make test-crash`: every call of a short fit that writes is made to fail, and to be the last, in turn.

After each, the same command must end with the same bits as an undisturbed run. The calls are counted by a library that
is loaded before all others (`faults.c`); it needs Linux and a C compiler.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.run import zygote
from tests.run.runs import SHORT, differences, environment, words

COUNT, FAIL, KILL, TEAR = range(4)  # as in faults.c
NAMES = {FAIL: "fails", KILL: "is the last", TEAR: "is cut off"}
ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES)
SHORTEST = {
    "updates": 4,
    "eval_every": 2,
    "checkpoint_every": 2,
    "checkpoint_keep": 1,
    "log_every": 1,
    "block_updates": 2,
    "eval_acting": "[1]",
    "env__episode_limit": 60,
    "callbacks__plot": None,
}
OUT = Path("runs") / "x" / "run"


@dataclass(frozen=True)
class Trial:
    """A point in the run, counted from 1, and what happens there."""

    point: int
    mode: int
    call: str

    @property
    def error(self) -> int:
        return ERRORS[self.point % len(ERRORS)]

    def __str__(self) -> str:
        what = f"{NAMES[self.mode]} ({errno.errorcode[self.error]})" if self.mode == FAIL else NAMES[self.mode]
        return f"{self.point:4} {self.call:60} {what}"


def compiler() -> str | None:
    """Return the command of a C compiler on Linux; None without one."""
    return (shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")) if sys.platform == "linux" else None


def compiled(folder: Path) -> Path:
    """Return the library, compiled in `folder`."""
    command = compiler()
    assert command is not None
    source, library = Path(__file__).with_name("faults.c"), folder / "faults.so"
    subprocess.run([command, "-O1", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
    return library


def fit(place: Path, trial: Trial | None = None, log: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the short fit in `place`; with a trial, what it says happens."""
    patch = SHORT
    if trial is not None:
        armed = (f"{place}/".encode(), trial.point, trial.mode, trial.error, str(log or "").encode())
        patch += f"\nimport ctypes; ctypes.CDLL(None).faults_arm(*{armed!r})"
    place.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        return zygote.run(words(OUT, **SHORTEST), place, environment(), Path(scratch), patch)


def calls_of(place: Path, log: Path) -> list[str]:
    """Return the writing calls of a fit in the new folder `place`, with the names of their files."""
    done = fit(place, Trial(0, COUNT, ""), log)
    assert done.returncode == 0, done.stderr
    return log.read_text().splitlines()


def trials_of(calls: list[str]) -> list[Trial]:
    """Return every trial: each call fails, is the last, and if it writes, is cut off."""
    found = []
    for point, call in enumerate(calls, 1):
        modes = (FAIL, KILL, TEAR) if call.startswith("write ") else (FAIL, KILL)
        found += [Trial(point, mode, call) for mode in modes]
    return found


def complaint(whole: Path, place: Path, trial: Trial) -> str:
    """Return what was wrong with a disturbed run, and with the same command after it; nothing if all was right."""
    first = fit(place, trial)
    lines = first.stderr.strip().splitlines()
    if trial.mode == FAIL:
        if first.returncode and (len(lines) != 1 or not lines[0].startswith("vgm2p: ") or "internal" in lines[0]):
            return f"exit {first.returncode}: {lines[-1][-200:] if lines else 'no line'}"
    elif first.returncode != -9:
        return f"exit {first.returncode}, it was not killed"
    again = fit(place)
    if again.returncode:
        return f"again: exit {again.returncode}: {again.stderr.strip()[-200:]}"
    found = differences(whole / OUT, place / OUT)
    left = [path.name for path in place.rglob("*") if path.match(".*.tmp*")]
    found += [f"left {name}" for name in left]
    picture = OUT / "plots" / "learning.png"
    if not (place / picture).is_file() or (place / picture).read_bytes() != (whole / picture).read_bytes():
        found.append("no plot, or another one")
    if not (place / "runs" / "last").is_symlink():
        found.append("no runs/last")
    return ", ".join(found)


def main(every: int, folder: Path) -> int:
    """Try every `every`-th trial, print each, and return the number of differences."""
    whole = folder / "whole"
    began = time.monotonic()
    calls = calls_of(whole, folder / "calls")
    trials = trials_of(calls)[::every]
    print(f"{len(calls)} calls that write: {dict(Counter(call.split()[0] for call in calls))}", flush=True)
    bad = 0
    for number, trial in enumerate(trials):
        place = folder / f"place{number}"
        found = complaint(whole, place, trial)
        bad += bool(found)
        print(f"{trial}  {found or 'same bits'}", flush=True)
        shutil.rmtree(place)
    print(f"{len(trials)} trials at {len(calls)} points, {bad} differences, {time.monotonic() - began:.0f} s")
    return bad


if __name__ == "__main__":
    if compiler() is None:
        print("skipped: it needs Linux and a C compiler (cc)")
        raise SystemExit(0)
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["LD_PRELOAD"] = str(compiled(Path(temporary)))  # the process that forks all runs gets it
        raise SystemExit(bool(main(int(sys.argv[1]), Path(temporary))))
