"""`make test-crash`: every call of a command that writes is made to fail, and to be the last, in turn.

After each, the same command must end with the same bits as an undisturbed one. The calls are counted by a library that
is loaded before all others (`faults.c`); it needs Linux and a C compiler.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.run import zygote
from tests.run.crash_subjects import SUBJECTS, Subject, prepared
from tests.run.runs import SHORT, environment

COUNT, FAIL, KILL, TEAR = range(4)  # as in faults.c
NAMES = {FAIL: "fails", KILL: "is the last", TEAR: "is cut off"}
ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES)


@dataclass(frozen=True)
class Trial:
    """A point in the command, counted from 1, and what happens there."""

    point: int
    mode: int
    call: str

    @property
    def error(self) -> int:
        return ERRORS[self.point % len(ERRORS)]

    def __str__(self) -> str:
        what = f"{NAMES[self.mode]} ({errno.errorcode[self.error]})" if self.mode == FAIL else NAMES[self.mode]
        return f"{self.point:4} {self.call:70} {what}"


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


def command(
    subject: Subject, place: Path, trial: Trial | None = None, log: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command in `place`; with a trial, what it says happens."""
    patch = SHORT
    if trial is not None:
        armed = (f"{place}/".encode(), trial.point, trial.mode, trial.error, str(log or "").encode())
        patch += f"\nimport ctypes; ctypes.CDLL(None).faults_arm(*{armed!r})"
    with tempfile.TemporaryDirectory() as scratch:
        return zygote.run(list(subject.words), place, environment(), Path(scratch), patch)


def calls_of(subject: Subject, place: Path, log: Path) -> list[str]:
    """Return the writing calls of an undisturbed command in `place`, with the names of their files."""
    done = command(subject, place, Trial(0, COUNT, ""), log)
    assert done.returncode == 0, done.stderr
    return log.read_text().splitlines()


def trials_of(calls: list[str]) -> list[Trial]:
    """Return every trial: each call fails, is the last, and if it writes, is cut off."""
    found = []
    for point, call in enumerate(calls, 1):
        modes = (FAIL, KILL, TEAR) if call.startswith("write ") else (FAIL, KILL)
        found += [Trial(point, mode, call) for mode in modes]
    return found


def complaint(subject: Subject, whole: Path, place: Path, trial: Trial) -> str:
    """Return what was wrong with a disturbed command, and with the same command after it; nothing if all was right."""
    first = command(subject, place, trial)
    lines = first.stderr.strip().splitlines()
    if trial.mode != FAIL:
        if first.returncode != -signal.SIGKILL:
            return f"exit {first.returncode}, it was not killed"
    elif first.returncode and (not lines or not lines[-1].startswith("vgm2p: ") or "internal" in first.stderr):
        return f"exit {first.returncode}: {lines[-1][-200:] if lines else 'no line'}"
    again = command(subject, place)
    done = again.returncode == 0 or (subject.keeps and "exists" in again.stderr)
    if not done:
        return f"again: exit {again.returncode}: {again.stderr.strip()[-200:]}"
    left = [path.name for path in place.rglob("*") if path.match(".*.tmp*")]
    return ", ".join([*subject.differences(whole, place), *(f"left {name}" for name in left)])


def tried(subject: Subject, every: int, folder: Path) -> int:
    """Try every `every`-th trial of a command, print each, and return the number of differences."""
    began, whole = time.monotonic(), folder / "whole"
    place = prepared(subject, folder, "place")  # all in one place, because outputs may depend on it
    calls = calls_of(subject, place, folder / f"{subject.name}.calls")
    place.rename(whole)
    trials = trials_of(calls)[::every]
    print(f"{subject.name}: {len(calls)} calls that write: {dict(Counter(call.split()[0] for call in calls))}")
    bad = 0
    for trial in trials:
        prepared(subject, folder, "place")
        found = complaint(subject, whole, place, trial)
        bad += bool(found)
        print(f"{trial}  {found or 'same bits'}", flush=True)
        shutil.rmtree(place)
    shutil.rmtree(whole)
    seconds = time.monotonic() - began
    print(
        f"{subject.name}: {len(trials)} trials at {len(calls)} points, {bad} differences, {seconds:.0f} s", flush=True
    )
    return bad


def main(every: int, names: list[str]) -> int:
    """Try the commands of these names, or all; return the exit code: 1 for a difference, 2 for an unknown name."""
    if unknown := [name for name in names if name not in SUBJECTS]:
        print(f"unknown command: {', '.join(unknown)}; choose from {', '.join(SUBJECTS)}")
        return 2
    if compiler() is None:
        print("skipped: it needs Linux and a C compiler (cc)")
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["LD_PRELOAD"] = str(compiled(Path(temporary)))  # the process that forks all commands gets it
        return int(sum(tried(SUBJECTS[name], every, Path(temporary)) for name in names or SUBJECTS) > 0)


if __name__ == "__main__":
    raise SystemExit(main(int(sys.argv[1]), sys.argv[2:]))
