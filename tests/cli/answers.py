"""Runs a wrong command, and checks its exit code and its message."""

from __future__ import annotations

import contextlib
import io
import os
import re
import resource
import shlex
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vgm2p.cli import main

TINY = [
    "updates=4",
    "eval_every=4",
    "eval_episodes=1",
    "compare=[]",
    "net.width=8",
    "net.depth=1",
    "data.sampling=uniform",  # the default algorithm would choose an effective sample size, in 20 seconds
    "data.batch_size=4",
    "evaluate=none",
    "logger.tensorboard=null",
    "callbacks.plot=null",
    "trainer.threads=1",
]


@dataclass(frozen=True)
class Wrong:
    """A command that must fail: what is wrong, its words for a scratch folder, exit code, and a part of the line.

    `keeps` names the files that must still be there, unchanged. Nothing may be left but in a cache.
    """

    what: str
    words: Callable[[Path], list[str]]
    code: int
    says: str
    keeps: str = "**/*"


def answer(words: list[str]) -> tuple[int, str]:
    """Run the program in this process; return exit code and standard error."""
    errors = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
        try:
            code = main(words)
        except SystemExit as stop:  # Hydra's --help and friends
            code = int(stop.code or 0)
        except BaseException:
            traceback.print_exc(file=errors)
            code = -1
    return code, errors.getvalue()


def judge(case: Wrong, scratch: Path) -> tuple[int, str, str]:
    """Return (exit code, line, complaint); no complaint means that the answer is as it should be."""
    variables = dict(os.environ)
    words = case.words(scratch)
    before, there = snapshot(scratch, case.keeps), set(scratch.rglob("*"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    code, text = answer(words)
    os.environ.clear()
    os.environ.update(variables)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits[1], limits[1]))
    lines = text.strip().splitlines()
    line = lines[-1] if lines else ""
    complaint = ""
    if code != case.code:
        complaint = f"exit {code}, not {case.code}"
    elif len(lines) != 1 or not line.startswith("vgm2p: "):
        complaint = f"{len(lines)} lines"
    elif len(line) > 207 or "Traceback" in text or case.says not in line:
        complaint = "line too long" if len(line) > 207 else f"does not say '{case.says}'"
    elif any(snapshot(scratch, case.keeps).get(path) != data for path, data in before.items()):
        complaint = "a file was changed or lost"
    elif left := {path for path in scratch.rglob("*") if "cache" not in path.parts} - there:
        complaint = f"left {sorted(map(str, left))}"
    return code, line, complaint or untrue(words, line)


def untrue(words: list[str], line: str) -> str:
    """Try the remedy of a line, if it is a word or a command. Return a complaint if it does not work."""
    for remedy in remedies(words, line):
        only = [] if "--help" in remedy else ["--cfg", "job"]  # composes the command, and does nothing
        code, text = answer([*first_run(remedy), *only])
        if code != 0:
            return f"its remedy {shlex.join(remedy)} is refused: {text.strip()}"
    return ""


def first_run(remedy: list[str]) -> list[str]:
    """Return the command of the first run of a sweep; another command is unchanged."""
    return [word.partition(",")[0] for word in remedy if word != "-m"] if "-m" in remedy else remedy


def remedies(words: list[str], line: str) -> list[list[str]]:
    """Return the commands that a line proposes: printed ones, and the given one with the word that was meant."""
    found = [shlex.split(text)[1:] for text in re.findall(r"`(?:[^`]* -m )?(vgm2p \w+ [^`<]*)`", line)]
    meant = re.search(r"unknown ([\w/.]+) '([^']*)'; did you mean '([^']*)'", line)
    if meant is None:
        return found
    kind, wrong, right = meant.groups()
    if kind == "command":
        return [*found, [right, *words[1:]]]
    if kind == "key":
        changed = [word.lstrip("+").replace(wrong.rpartition(".")[2], right.rpartition(".")[2], 1) for word in words]
        return [*found, [new if wrong in old else old for old, new in zip(words, changed, strict=True)]]
    group = kind.partition("/")[0] + "="
    return [*found, [word.replace(wrong, right) if word.startswith(group) else word for word in words]]


def snapshot(folder: Path, keeps: str) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.glob(keeps) if path.is_file() and path.name != ".lock"}
