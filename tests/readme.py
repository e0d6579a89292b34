"""Runs the commands of README.md in order, each for a few seconds: `python -m tests.readme <scratch folder>`.

Lines in ```bash blocks run unchanged, except that `fit` and `estimate` get a smaller budget. `make` lines are only checked: the target
must exist (`.ci/run` runs it). Of `source` lines, the file must be one that `make install` makes. Commands on recordings need VGM2P_DATA; without it, they are skipped with a message.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUDGET = "updates=40 eval_every=20 eval_episodes=1 net.width=16 net.depth=1 log_every=10".split()  # noqa: SIM905
ESTIMATE = ["updates=20", "draws=1"]


def commands(text: str) -> list[str]:
    """Return the command lines of all ```bash blocks, comments cut off."""
    blocks = re.findall(r"```bash\n(.*?)```", text, re.S)
    return [line.split("  #")[0].strip() for block in blocks for line in block.splitlines() if line.strip()]


def reduced(command: str) -> list[str] | None:
    """Return the words to run, None for lines that are checked otherwise."""
    words = shlex.split(command)
    while "=" in words[0]:  # variables in front
        words.pop(0)
    if words[0] in ("make", "source"):
        return None
    assert words[:3] == ["python", "-m", "vgm2p"], f"README has a command that this script does not know: {command}"
    budget = {"fit": BUDGET, "estimate": ESTIMATE}.get(words[3], []) if "--help" not in words else []
    if any(word.startswith("experiment=recorded") for word in words) and "VGM2P_DATA" not in os.environ:
        return None
    return [sys.executable, *words[1:], *budget]


def targets() -> set[str]:
    return set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.M))


def is_made(word: str, what: str) -> bool:
    """Return whether a target of `make` exists, or a file for `source` is the script of the environment `.venv`."""
    return what == ".venv/bin/activate" if word == "source" else word != "make" or what in targets()


def main(scratch: Path) -> int:
    """Run every command in `scratch`; return the number of failures."""
    failures = 0
    for command in commands((ROOT / "README.md").read_text()):
        words = reduced(command)
        if words is None:
            good = is_made(*command.split()[:2])
            print(f"{'named' if good else 'FAILED'}    {command}", flush=True)
        else:
            done = subprocess.run(words, cwd=scratch, capture_output=True, text=True)
            good = done.returncode == 0 and "Traceback" not in done.stderr
            print(f"{'ran' if good else 'FAILED'}      {command}", flush=True)
            if not good:
                print(done.stdout[-2000:], done.stderr[-2000:])
        failures += not good
    return failures


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
