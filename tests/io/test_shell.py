"""Commands in messages work in the shell of the user: this Python, its pip, the checkout."""

import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.house import ROOT
from vgm2p.errors import ConfigError
from vgm2p.io import shell
from vgm2p.io.text import command

OWN = Path(sys.executable)


def started_as(monkeypatch, file):
    monkeypatch.setitem(sys.modules, "__main__", SimpleNamespace(__file__=str(file)))


def script(folder, name="vgm2p"):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("#!/bin/sh\n")
    (folder / name).chmod(0o755)
    return folder / name


def test_a_command_starts_the_python_that_runs(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert shell.program() == f"{OWN} -m vgm2p"
    monkeypatch.chdir(OWN.parent.parent)
    assert shell.program() == f"{OWN.parent.name}/{OWN.name} -m vgm2p"
    script(tmp_path, "python")
    assert shell.python() != "python"
    monkeypatch.setenv("PATH", str(OWN.parent))
    assert command("fit", "a b=1") == "python -m vgm2p fit 'a b=1'"


def test_a_folder_with_a_space_is_quoted(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "my venv" / "bin" / "python"))
    assert shlex.split(shell.program()) == [sys.executable, "-m", "vgm2p"]


def test_the_console_script_is_named_as_it_was_typed(monkeypatch, tmp_path):
    own = script(tmp_path / "bin")
    started_as(monkeypatch, own)
    monkeypatch.setenv("PATH", str(own.parent))
    assert shell.program() == "vgm2p"
    monkeypatch.setenv("PATH", "")
    monkeypatch.chdir(tmp_path)
    assert shell.program() == "bin/vgm2p"
    monkeypatch.setenv("PATH", str(script(tmp_path / "other").parent))  # of another environment
    assert shell.program() == "bin/vgm2p"


def test_commands_in_backticks_become_runnable(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "")
    monkeypatch.chdir(tmp_path)
    line = ConfigError("see `vgm2p data list` or `pip install a`, not vgm2p or `evaluate`").line
    assert line == f"see `{OWN} -m vgm2p data list` or `{OWN} -m pip install a`, not vgm2p or `evaluate`"
    assert ConfigError("next:", "vgm2p fit").line == f"next: {OWN} -m vgm2p fit"


def test_a_long_line_keeps_its_last_command_whole():
    line = ConfigError(f"{'word ' * 60}; see `vgm2p data list`").line
    assert len(line) <= 200 and line.endswith(f"see `{shell.program()} data list`")


def test_pip_is_that_of_this_python_or_uv(monkeypatch):
    monkeypatch.setenv("PATH", str(OWN.parent))
    assert shell.runnable("`pip install 'a[b]'`") == "`python -m pip install 'a[b]'`"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert shell.runnable("`pip install a`") == "`uv pip install --python python a`"


def twice(text):
    """A line may hold another line, as `...; evaluate=none trains without evaluation` does."""
    return shell.runnable(shell.runnable(text))


def test_make_is_that_of_the_checkout(monkeypatch, tmp_path):
    monkeypatch.setattr(shell, "CHECKOUT", tmp_path)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    monkeypatch.setenv("PATH", str(OWN.parent))
    assert shell.runnable("`make install-smax`") == "`python -m pip install 'vgm2p[smax]'`"
    assert twice("`make sc2`") == "`make sc2` in a checkout of vgm2p"
    for name in ("Makefile", "pyproject.toml"):
        (tmp_path / name).touch()
    assert twice("`make install-smax`") == f"`make -C {tmp_path} install-smax`"
    monkeypatch.chdir(tmp_path)
    assert shell.runnable("`make install-smax`") == "`make install-smax`"
    monkeypatch.setattr(sys, "prefix", "/other")
    assert twice("`make install-smax`") == "`make install-smax VENV=/other`"
    assert shell.runnable("`make sc2`") == "`make sc2`"


def test_the_typed_command_is_that_of_this_program_or_the_script_that_called_it(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "orig_argv", ["python", "mine.py"])
    assert shell.typed_command() == ["python", "mine.py"]
    with shell.noted(["fit", "label=a b"]):
        assert shell.typed_command() == [*shlex.split(shell.program()), "fit", "label=a b"]
        worker = "from vgm2p.io.shell import typed_command; print(typed_command()[1:])"
        done = subprocess.run([sys.executable, "-c", worker], cwd=ROOT, capture_output=True, text=True)
        assert done.stdout.strip() == "['-m', 'vgm2p', 'fit', 'label=a b']"
    assert shell.typed_command() == ["python", "mine.py"]


@pytest.mark.parametrize("words", [["fit"], ["doctor"], ["bench", "step"], ["report", "x"]])
def test_a_python_without_the_packages_gets_one_line(words):
    """With -S, Python does not find the installed packages, as that of the system does not."""
    done = subprocess.run([sys.executable, "-S", "-m", "vgm2p", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 66 and len(done.stderr.splitlines()) == 1
    assert "is missing in" in done.stderr and "internal error" not in done.stderr


def test_a_missing_package_names_the_environment_of_the_checkout(monkeypatch, tmp_path):
    for name in ("Makefile", "pyproject.toml"):
        (tmp_path / name).touch()
    monkeypatch.setattr(shell, "CHECKOUT", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert shell.missing_package("hydra")[1] == "make install && source .venv/bin/activate"
    activate = script(tmp_path / ".venv", "x").parent / "bin" / "activate"
    activate.parent.mkdir()
    activate.touch()
    assert shell.missing_package("hydra")[1] == "source .venv/bin/activate"
    monkeypatch.chdir(tmp_path / ".venv" / "bin")
    assert shell.missing_package("hydra")[1] == "source ./activate"
    monkeypatch.chdir(ROOT)
    assert shell.missing_package("hydra")[1] == f"source {activate}"
