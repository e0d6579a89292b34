"""Commands in messages, as the user can type them: with this Python, its pip, and the checkout if there is one."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
CHECKOUT = PACKAGE.parent  # the folder of the Makefile, unless the package is installed without it
COMMAND = re.compile(r"`(vgm2p|pip|make) (?!-C )([^`\n]*)`(?! in a checkout)")
NOTED = "VGM2P_COMMAND"  # environment variable: the words of the command that runs, for its worker processes
INSTEAD = {"install": "vgm2p", "install-smax": "'vgm2p[smax]'"}  # target of the Makefile -> what pip installs


def program() -> str:
    """Return the words that start this program in a shell: `vgm2p` for its console script, else those of `-m vgm2p`."""
    script = Path(getattr(sys.modules.get("__main__"), "__file__", None) or "")
    if script.name != "vgm2p":
        return f"{python()} -m vgm2p"
    found = shutil.which("vgm2p")
    return "vgm2p" if found and Path(found).samefile(script) else shlex.quote(_from_here(script.absolute()))


def python() -> str:
    """Return the word that starts this Python in a shell: `python` if that is its name there, else its path."""
    own, found = Path(sys.executable or "python"), shutil.which("python")
    if found and Path(found).absolute().parent == own.parent and Path(found).samefile(own):
        return "python"
    return shlex.quote(_from_here(own))


def runnable(text: str) -> str:
    """Return a text in which the commands in backticks work as printed.

    These are commands of this program, of pip for this Python, and of make for the checkout. A text with runnable
    commands is unchanged.
    """
    writers = {"vgm2p": _of_program, "pip": _pip, "make": _make}
    return COMMAND.sub(lambda found: writers[found[1]](found[2]), text)


def as_typed(command: str) -> str:
    """Return a command `vgm2p ...` with the words that start this program; another command is unchanged."""
    return program() + command.removeprefix("vgm2p") if command.startswith("vgm2p ") else command


@contextmanager
def noted(words: Sequence[str]) -> Iterator[None]:
    """While the context lasts, `typed_command` returns the command with these words, also in worker processes."""
    os.environ[NOTED] = json.dumps([*shlex.split(program()), *words])
    try:
        yield
    finally:
        os.environ.pop(NOTED, None)


def typed_command() -> list[str]:
    """Return the words that the user has typed: a command of this program, or the Python script that called it."""
    words: list[str] = json.loads(os.environ[NOTED]) if NOTED in os.environ else list(sys.orig_argv)
    return words


def missing_package(name: str) -> tuple[str, str]:
    """Return the line about a package without which the program cannot work, and the command that helps."""
    line = f"the package {name} is missing in {sys.executable}"
    activate = CHECKOUT / ".venv" / "bin" / "activate"
    if not _is_checkout():
        return f"{line}; install it:", f"{_installer()} vgm2p"
    source = f"source {shlex.quote(_from_here(activate))}"
    if activate.is_file() and Path(sys.executable).parent != activate.parent:
        return f"{line}; activate the environment, then type the command again:", source
    return f"{line}; install the packages into .venv:", f"make {_folder_of_make()}install && {source}"


def _of_program(words: str) -> str:
    return f"`{program()} {words}`"


def _pip(words: str) -> str:
    return f"`{_installer()} {words.removeprefix('install ')}`"


def _installer() -> str:
    """Return the words that install packages for this Python. An environment of uv has no pip."""
    if importlib.util.find_spec("pip") is None:
        return f"uv pip install --python {python()}"
    return f"{python()} -m pip install"


def _make(words: str) -> str:
    """Return a command of make for the checkout and for this environment; without a checkout, that of pip."""
    if not _is_checkout():
        return f"`{_installer()} {INSTEAD[words]}`" if words in INSTEAD else f"`make {words}` in a checkout of vgm2p"
    usual = Path(sys.prefix) == CHECKOUT / ".venv" or sys.prefix == sys.base_prefix
    if words.startswith("install") and not usual and "VENV=" not in words:
        words += f" VENV={shlex.quote(sys.prefix)}"
    return f"`make {_folder_of_make()}{words}`"


def _folder_of_make() -> str:
    """Return the option of make that names the checkout; empty in the checkout itself."""
    return "" if Path("Makefile").is_file() and Path.cwd() == CHECKOUT else f"-C {shlex.quote(str(CHECKOUT))} "


def _is_checkout() -> bool:
    return all((CHECKOUT / name).is_file() for name in ("Makefile", "pyproject.toml"))


def _from_here(path: Path) -> str:
    """Return a path relative to the working folder if it lies below, else as it is. It is no word of $PATH."""
    try:
        here = Path.cwd()
    except OSError:  # the working folder was deleted
        return str(path)
    if not path.is_relative_to(here) or path == here:
        return str(path)
    near = str(path.relative_to(here))
    return near if "/" in near else f"./{near}"
