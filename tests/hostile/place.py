"""Where hostile inputs are tried: a user's files, canaries, a secret, and one process per command with its limits."""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.cli.answers import TINY
from tests.run.runs import environment
from tests.run.zygote import CONTEXT

SECRET = "hf_1a2b3c4d5e6f"
CPU_SECONDS = 10
MEGABYTES = 500
WALL_SECONDS = 120  # for a machine with many other processes; a command that waits for ever ends here
EVIL = "import os\nos.makedirs(os.environ['CANARY'], exist_ok=True)\n"


@dataclass(frozen=True)
class Hostile:
    """An input: what it is, and a function that makes it in a folder and returns the words of the command.

    `works` tells whether the command may succeed: the input does no harm, and is used as data.
    """

    what: str
    make: Callable[[Place], list[str]]
    works: bool = False


@dataclass(frozen=True)
class Answer:
    """The answer to an input: exit code, output, CPU seconds, megabytes above the start, and complaints."""

    code: int
    text: str
    seconds: float
    megabytes: float
    complaints: tuple[str, ...]


class Place:
    """A folder with the files of a user (`home`), an own working folder (`here`), and honest runs to copy."""

    def __init__(self, folder: Path, runs: Path) -> None:
        self.folder, self.runs = folder, runs
        self.home, self.here, self.canary = folder / "home", folder / "here", folder / "canary"
        (self.home / "checkpoints").mkdir(parents=True)
        (self.home / "plots").mkdir()
        self.here.mkdir()
        for name in ("notes.txt", "episodes.csv", "results.json", "plots/learning.png"):
            (self.home / name).write_text(f"the user's own {name}\n")
        for update in (1, 2, 3, 5):
            (self.home / "checkpoints" / f"update-{update:09d}.ckpt").write_text("the user's own checkpoint\n")
        (self.here / "evil.py").write_text(EVIL)

    def run(self, name: str = "trained") -> Path:
        """Return a copy of an honest run; `trained` has no evaluation, `evaluated` has one."""
        target = self.here / "run"
        shutil.copytree(self.runs / name, target, symlinks=True)
        return target

    def files(self) -> dict[str, bytes]:
        """Return the user's files."""
        return {str(path): path.read_bytes() for path in sorted(self.home.rglob("*")) if path.is_file()}

    def secrets(self) -> list[str]:
        """Return the plain files that contain the secret."""
        plain = [path for path in self.folder.rglob("*") if path.is_file() and not path.is_symlink()]
        small = [path for path in plain if path.stat().st_size < 1 << 26]
        return [str(path) for path in small if SECRET.encode() in path.read_bytes()]


def honest_runs(folder: Path) -> None:
    """Train the two honest runs that inputs are made of."""
    for name, more in (("trained", []), ("evaluated", ["evaluate=auto", "eval_acting=[]"])):
        words = [*(word for word in TINY if not (more and word.startswith("evaluate="))), *more]
        code, text, *_ = in_process(["fit", *words, f"out={folder / name}"], folder, {})
        if code != 0:
            raise AssertionError(text)


def judge(case: Hostile, folder: Path, runs: Path) -> Answer:
    """Try one input in a new folder."""
    place = Place(folder, runs)
    words = case.make(place)
    before = place.files()
    variables = {"HF_TOKEN": SECRET, "SECRET": SECRET, "CANARY": str(place.canary)}
    code, text, seconds, megabytes = in_process(words, place.here, variables)
    shown = text.replace("\n", "").replace("\t", "")
    found = {
        "EXECUTED": place.canary.exists() or (place.here / "canary").exists(),
        "CHANGED": place.files() != before,
        "SECRET": SECRET in text or bool(place.secrets()),
        "internal error": "internal error" in text or "Traceback" in text,
        "raw": not all(each.isprintable() for each in shown),
        "no answer": code is None or code < 0,
        "accepted": code == 0 and not case.works,
        "refused": code != 0 and case.works,
        "slow": seconds > CPU_SECONDS,
        "memory": megabytes > MEGABYTES,
    }
    complaints = tuple(name for name, bad in found.items() if bad)
    return Answer(-1 if code is None else code, text, seconds, megabytes, complaints)


def in_process(words: list[str], cwd: Path, variables: dict[str, str]) -> tuple[int | None, str, float, float]:
    """Run a command in a process of its own; return exit code, output, CPU seconds and megabytes above its start."""
    cwd.mkdir(exist_ok=True)
    report = cwd.parent / "report"
    report.mkdir(exist_ok=True)
    child = CONTEXT.Process(target=_command, args=(words, str(cwd), {**environment(), **variables}, str(report)))
    child.start()
    child.join(WALL_SECONDS)
    if child.is_alive():
        child.kill()
        child.join()
    text = (report / "output").read_text(errors="surrogateescape") if (report / "output").exists() else ""
    numbers = json.loads((report / "numbers").read_text()) if (report / "numbers").exists() else [CPU_SECONDS + 1, 0]
    shutil.rmtree(report)
    return child.exitcode, text, numbers[0], numbers[1]


def _command(words: list[str], cwd: str, variables: dict[str, str], report: str) -> None:
    output = os.open(f"{report}/output", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    sys.stdout, sys.stderr = (os.fdopen(descriptor, "w", buffering=1, closefd=False) for descriptor in (1, 2))
    os.environ.clear()
    os.environ.update(variables, VGM2P_CACHE=f"{cwd}/../cache", XDG_CACHE_HOME=f"{cwd}/../cache")
    os.chdir(cwd)
    sys.path[:0] = ["", *variables.get("PYTHONPATH", "").split(os.pathsep)]
    Path("/proc/self/clear_refs").write_text("5")  # the peak of the memory begins here
    start = _megabytes("VmRSS")
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    from vgm2p.cli import main

    try:
        code: object = main(words)
    except SystemExit as stop:
        code = stop.code
    except BaseException as error:
        print(f"Traceback: {error!r}")
        code = 1
    used = resource.getrusage(resource.RUSAGE_SELF)
    numbers = [used.ru_utime + used.ru_stime, _megabytes("VmHWM") - start]
    Path(f"{report}/numbers").write_text(json.dumps(numbers))
    os._exit(code if isinstance(code, int) else 1)


def _megabytes(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))
