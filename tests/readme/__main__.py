"""`python -m tests.readme <scratch folder>`: types every command of the pages, and runs their Python programs.

They are done in the order of the pages, each text once. The README comes first; every page has a copy of the folder
that it leaves. `fit`, `evaluate`, `estimate` and `collect` get a smaller budget. The target of a `make` line must exist;
it is not run here. `tests/readme/exceptions.py` lists everything else that is not run as it stands.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.house import ROOT
from tests.readme.exceptions import COMPOSED, LEFT, Rule, rule_for
from tests.readme.pages import PAGES, Found, found_in
from tests.run import zygote
from vgm2p.cli import COMMANDS
from vgm2p.config.command_line import hydra_words
from vgm2p.config.compose import composed, options

BUDGET = "updates=20 eval_every=20 eval_episodes=1 eval_acting=[] net.width=16 net.depth=1 compare=[]".split()  # noqa: SIM905
BUDGETS = {
    "fit": BUDGET,
    "estimate": ["updates=20", "draws=1", "critics=2"],
    "evaluate": ["episodes=1"],
    "collect": ["episodes=2"],
}
STRANGERS = ("mine.py", "line_world.py")  # what the pages call the reader's own files


class Failed(Exception):
    """A command that did not do what its page says."""


def targets() -> set[str]:
    """Return the targets of the Makefile."""
    return set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.M))


def prepare(scratch: Path) -> None:
    """Put a reader's own algorithm and environment into the folder."""
    for name in STRANGERS:
        shutil.copy(ROOT / "tests/strangers" / name, scratch / name)
    shutil.copytree(ROOT / "tests/strangers/conf", scratch / "conf")
    shutil.copy(scratch / "conf/env/line.yaml", scratch / "conf/env/mine.yaml")


def words_of(text: str, rule: Rule | None) -> tuple[dict[str, str], list[str]]:
    """Return the variables and the words of a vgm2p command, with its budget. Raises Failed for another program."""
    words, variables = shlex.split(text), {}
    while re.fullmatch(r"\w+=.*", words[0]):
        name, _, value = words.pop(0).partition("=")
        variables[name] = value
    words = words[2:] if words[:3] == ["python", "-m", "vgm2p"] else words
    if words[0] != "vgm2p" or words[1:2] == []:
        raise Failed("it is no command that this script knows; tests/readme/exceptions.py lists exceptions")
    words = words[1:]
    if "--help" in words:
        return variables, words
    parts = [word for word in words if re.match(r"policy=\[", word)]
    budget = [] if "propose=true" in words else BUDGETS.get(words[0], [])
    if parts:  # a mixture: as many budgets as it has parts
        budget = [f"episodes=[{','.join('2' for _ in parts[0].split(','))}]"]
    return variables, [*words, *budget, *(rule.keys if rule else ())]


def compose(words: list[str], scratch: Path) -> None:
    """Compose the configuration of a command; of a sweep, its first run. Raises Failed if Hydra or the program refuses it."""
    sweeps = [word.partition("=")[2] for word in words if word.startswith("+sweep=")]
    if unknown := [name for name in sweeps if name not in options("sweep")]:
        raise Failed(f"conf/sweep has no {unknown[0]}")
    try:
        with contextlib.chdir(scratch):
            names = [
                word for word in hydra_words(words[0], words[1:]) if word != "-m" and not word.startswith("+sweep=")
            ]
            if "-m" in words:
                names = [re.sub(r"=([^\[(,]*),.*", r"=\1", name) for name in names if not re.search(r"=\w+\(", name)]
            composed(words[0], names)
    except Exception as error:  # what Hydra raises has no common class
        raise Failed(f"{shlex.join(words)}\n{error}") from error


def run_command(found: Found, rule: Rule | None, scratch: Path) -> str:
    """Do a command, and return how. Raises Failed if it ends with an error or a traceback."""
    if found.text.startswith("make "):
        missing = {word for word in shlex.split(found.text)[1:] if "=" not in word} - targets()
        if missing:
            raise Failed(f"the Makefile has no target {', '.join(missing)}")
        return "named"
    if rule and rule.how == LEFT:
        words = re.findall(r"\bvgm2p (\w+)", found.text)
        if unknown := [word for word in words if word not in COMMANDS]:
            raise Failed(f"there is no command {unknown[0]}")
        return LEFT
    variables, words = words_of(found.text, rule)
    if rule and rule.how == COMPOSED:
        compose(words, scratch)
        return COMPOSED
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    if "VGM2P_DATA" in variables and "VGM2P_DATA" in os.environ:  # the reader's folder is ours
        environment["VGM2P_DATA"] = os.environ["VGM2P_DATA"]
    for word in words if words[0] == "collect" else []:
        if word.startswith("out="):  # the reader has no such file yet
            (scratch / word.partition("=")[2]).unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as streams:
        done = zygote.run(words, scratch, environment, Path(streams), timeout=600)
    if done.returncode or "Traceback" in done.stderr:
        raise Failed(f"{shlex.join(words)}\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}")
    return rule.how if rule else "ran"


def run_program(found: Found, scratch: Path) -> str:
    """Run a Python program. Raises Failed if it ends with an error."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", found.text]
    done = subprocess.run(command, cwd=scratch, env=environment, capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise Failed(f"{done.stdout[-1500:]}\n{done.stderr[-1500:]}")
    return "ran"


def attempt(found: Found, scratch: Path) -> bool:
    """Do one command or program, print what became of it, and return whether it is right."""
    rule = rule_for(f"{found.page} {found.text}" if found.program else found.text)
    shown = f"{found.text.splitlines()[0]} ..." if found.program else found.text
    try:
        if found.program:
            how = LEFT if rule and rule.how == LEFT else run_program(found, scratch)
        else:
            how = run_command(found, rule, scratch)
    except Failed as error:
        print(f"FAILED    {found.page}: {shown}\n{error}", flush=True)
        return False
    print(f"{how:9} {found.page}: {shown}{f'  ({rule.why})' if rule else ''}", flush=True)
    return True


def main(scratch: Path) -> int:
    """Do everything that the pages tell, each text once; return the number of failures."""
    scratch.mkdir(parents=True, exist_ok=True)
    prepare(scratch)
    done: dict[str, bool] = {}
    for path in PAGES:
        folder = scratch if path == PAGES[0] else scratch.with_name(f"{scratch.name}-page")
        if folder != scratch:
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(scratch, folder, symlinks=True)
        page = found_in(path)
        for found in (found for found in page if found.file):
            (folder / found.file).write_text(found.text)
        for found in (found for found in page if not found.file and found.text not in done):
            done[found.text] = attempt(found, folder)
    results = list(done.values())
    print(f"{len(results)} commands and programs of {len(PAGES)} pages, {results.count(False)} failed")
    return results.count(False)


if __name__ == "__main__":
    raise SystemExit(min(main(Path(sys.argv[1])), 1))
