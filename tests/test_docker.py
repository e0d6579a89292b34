"""The Dockerfile without a container engine: what its context holds, and its steps in an empty folder."""

import fnmatch
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house import LINKED, ROOT

KNOWN = {"FROM", "ARG", "ENV", "RUN", "COPY", "WORKDIR", "USER", "ENTRYPOINT", "CMD"}
NEEDS_ROOT = ("apt-get", "useradd")  # steps that change a system: not run here


def steps():
    """The instructions of the Dockerfile with their arguments; comments and continued lines as Docker reads them."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


def ignored(path, rules):
    """Whether .dockerignore leaves a path out: the last rule that fits the path, or a folder above it, decides."""
    out = False
    for rule in rules:
        pattern = rule.removeprefix("!")
        names = [path, *map(str, Path(path).parents)][:-1]
        forms = [pattern, pattern.removeprefix("**/")]
        if any(fnmatch.fnmatchcase(name, form) for name in names for form in forms):
            out = not rule.startswith("!")
    return out


def context():
    """The tracked files that `docker build .` sends."""
    rules = [line for line in (ROOT / ".dockerignore").read_text().split("\n") if line and not line.startswith("#")]
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for path in listed.split("\0") if path and not ignored(path, rules) and os.path.lexists(ROOT / path)]


def test_the_context_is_what_a_wheel_is_made_of():
    sent = context()
    assert {path.split("/")[0] for path in sent} == {
        *("vgm2p", "conf", *LINKED),
        *("pyproject.toml", "constraints.txt", "MANIFEST.in", "README.md", "LICENSE"),
    }
    assert "vgm2p/conf" in sent  # the links to the folders at the top, too
    assert ignored("vgm2p/__pycache__/a.pyc", ["*", "!vgm2p", "**/__pycache__"])
    assert not ignored("vgm2p/a.py", ["*", "!vgm2p", "**/__pycache__"])


def test_the_steps_are_known_and_the_program_is_not_root():
    found = steps()
    assert {name for name, _ in found} <= KNOWN
    assert all(":" in argument for name, argument in found if name == "FROM")
    version = f"python:{sys.version_info.major}.{sys.version_info.minor}-"
    assert sys.version_info[:2] != (3, 11) or all(version in argument for name, argument in found if name == "FROM")
    assert [argument for name, argument in found if name == "USER"] == ["vgm2p"]
    assert ("ENTRYPOINT", '["vgm2p"]') in found
    assert any(argument.startswith("TORCH_INDEX=") for name, argument in found if name == "ARG")


class Stage:
    """The folder that stands for the root of an image, and its Python."""

    def __init__(self, folder, backend):
        self.root, self.work = folder / "root", folder / "root"
        self.root.mkdir(parents=True)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
        (site,) = (folder / "venv").glob("lib/python*/site-packages")
        packages = next(path for path in sys.path if path.endswith("site-packages"))
        (site / "behind.pth").write_text(
            f"{packages}\n"
        )  # the packages of this environment stand for those of the index
        self.bin = folder / "venv" / "bin"
        (self.bin / "pip").write_text(f'#!/bin/sh\nexec "{self.bin}/python" -m pip "$@"\n')
        (self.bin / "pip").chmod(0o755)
        self.env = {
            **os.environ,
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "PYTHONPATH": str(backend),
            "PIP_NO_DEPS": "1",
        }
        self.env |= {"PIP_NO_BUILD_ISOLATION": "0", "PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}

    def place(self, path):
        return self.root / path.lstrip("/") if path.startswith("/") else self.work / path

    def copy(self, sources, target):
        """Copy files and folders, links included."""
        folder = self.place(target)
        folder.mkdir(parents=True, exist_ok=True)
        for source, name in sources:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, folder / name, follow_symlinks=False)

    def run(self, command):
        """Run a command with the image's absolute paths in this root."""
        command = re.sub(r"(?<![\w.*/])/(src|wheels|work)\b", rf"{self.root}/\1", command)
        done = subprocess.run(["bash", "-euc", command], cwd=self.work, env=self.env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.mark.slow
def test_the_steps_install_a_program_that_trains(tmp_path, backend):
    stages, names, stage = [], {}, None
    for name, argument in steps():
        if name == "FROM":
            stage = Stage(tmp_path / str(len(stages)), backend)
            stages.append(stage)
            names[argument.rpartition(" AS ")[2]] = stage
        elif name == "WORKDIR":
            stage.work = stage.place(argument)
            stage.work.mkdir(parents=True, exist_ok=True)
        elif name in ("ENV", "ARG"):
            stage.env |= dict(word.split("=", 1) for word in argument.split())
        elif name == "COPY":
            *sources, target = argument.split()
            origin = names[sources.pop(0).removeprefix("--from=")] if argument.startswith("--from=") else None
            for source in sources:
                if origin:
                    found = origin.root.glob(source.lstrip("/"))
                    stage.copy([(path, path.name) for path in found], target)
                else:
                    wanted = [path for path in context() if source == "." or path == source]
                    assert wanted, source
                    stage.copy([(ROOT / path, path) for path in wanted], target)
        elif name == "RUN" and not any(word in argument for word in NEEDS_ROOT):
            stage.run(argument)
    assert len(stages) == 2
    (stage.root / "work").mkdir(exist_ok=True)
    stage.env |= {"VGM2P_CACHE": str(stage.root / "work/cache")}
    assert str(stage.bin.parent) in stage.run("python -c 'import vgm2p; print(vgm2p.__file__)'")
    small = "updates=4 net.width=8 net.depth=1 data.batch_size=4 compare=[] evaluate=none logger.tensorboard=null"
    assert "bundled_6halfcheetah: 50 episodes" in stage.run(f"vgm2p fit {small} callbacks.plot=null out=runs/a")
