"""The wheel and the source archive: one top-level package, no missing file, usable together with a user's packages."""

import email
import os
import subprocess
import sys
import tarfile
import zipfile

import pytest

from tests.cli.test_commands import NO_EVALUATION
from tests.house import LINKED, ROOT
from tools.site.extras import extras

pytestmark = pytest.mark.slow
IN_SOURCE = (
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "constraints.txt",
    "vgm2p/data/NOTICE",
    "vgm2p/py.typed",
)
SHIPPED = ("vgm2p", *LINKED, "conf")  # folders whose files belong into the wheel


def called(*words, folder, **environment):
    """Run a Python command and return what it printed."""
    env = {**os.environ, "PYTHONPATH": "", **environment}
    done = subprocess.run([sys.executable, *map(str, words)], cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def tracked():
    """Return the paths that belong to the source tree."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for path in listed.split("\0") if path and os.path.lexists(ROOT / path)]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of the source tree, links included: building leaves files behind."""
    folder = tmp_path_factory.mktemp("source")
    with tarfile.open(folder / "all.tar", "w") as archive:
        for path in tracked():
            archive.add(ROOT / path, path)
    with tarfile.open(folder / "all.tar") as archive:
        archive.extractall(folder, filter="data")
    return folder


BUILD = "import sys; from setuptools import build_meta; getattr(build_meta, sys.argv[1])(sys.argv[2])"


def built(kind, source, backend, target):
    """Build a `wheel` or `sdist` of a source tree and return its path."""
    called("-c", BUILD, f"build_{kind}", target, folder=source, PYTHONPATH=str(backend))
    (path,) = target.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return path


@pytest.fixture(scope="module")
def wheel(source, backend, tmp_path_factory):
    return built("wheel", source, backend, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory):
    """A folder for PYTHONPATH with the installed wheel."""
    folder = tmp_path_factory.mktemp("site")
    called("-m", "pip", "install", "-q", "--no-deps", "--target", folder, wheel, folder=folder)
    return folder


def content(wheel):
    return {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}


def expected():
    """Return the files that the wheel must hold, by their names in it."""
    paths = [path for path in tracked() if path.split("/")[0] in SHIPPED and not (ROOT / path).is_symlink()]
    return {path if path.startswith("vgm2p/") else f"vgm2p/{path}" for path in paths}


def test_the_wheel_holds_one_package_with_every_file_of_it(wheel):
    assert content(wheel) == expected()


def test_the_source_archive_builds_the_same_wheel(source, backend, tmp_path):
    for folder in ("sdist", "unpacked", "wheel"):
        (tmp_path / folder).mkdir()
    with tarfile.open(built("sdist", source, backend, tmp_path / "sdist")) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    assert [name for name in IN_SOURCE if not (unpacked / name).is_file()] == []
    assert content(built("wheel", unpacked, backend, tmp_path / "wheel")) == expected()


def test_the_metadata_are_complete_and_twine_accepts_them(wheel, source, backend, tmp_path):
    pytest.importorskip("twine", reason="the extra `docs` is not installed")
    sdist = built("sdist", source, backend, tmp_path)
    assert called("-m", "twine", "check", "--strict", wheel, sdist, folder=tmp_path).count("PASSED") == 2
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("METADATA"))
        found = email.message_from_bytes(archive.read(name))
    assert found["License-Expression"] == "MIT"
    assert found.get_all("License-File") == ["LICENSE", "vgm2p/data/NOTICE"]
    assert "Typing :: Typed" in found.get_all("Classifier")
    assert found.get_all("Project-URL") == ["Paper, https://arxiv.org/abs/2604.08174"]
    assert "example" not in found.as_string().lower().partition("description-content-type")[0]
    assert set(found.get_all("Provides-Extra")) == set(extras(ROOT / "pyproject.toml"))


HERS = """
import callbacks
import datamodules

assert (callbacks.OWNER, datamodules.OWNER) == ("user", "user")

import numpy as np
import vgm2p
import vgm2p.callbacks.evaluate
import vgm2p.datamodules.offline

policy = vgm2p.load("run")
spec = policy.spec
actions = policy.act(np.zeros((spec.n_agents, spec.obs_dim), np.float32))
assert actions.shape == (spec.n_agents, spec.action_dim)
assert (callbacks.OWNER, datamodules.OWNER) == ("user", "user")
print(vgm2p.__file__)
"""


def test_an_installed_wheel_trains_and_loads_beside_a_users_own_packages(site, tmp_path):
    for name in ("callbacks", "datamodules"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text('OWNER = "user"\n')
    (tmp_path / "script.py").write_text(HERS)
    said = called("-m", "vgm2p", "fit", *NO_EVALUATION, "out=run", folder=tmp_path, PYTHONPATH=str(site))
    assert "bundled_6halfcheetah: 50 episodes" in said
    assert called("script.py", folder=tmp_path, PYTHONPATH=str(site)).startswith(str(site))


def test_an_editable_install_finds_the_linked_folders(source, backend, tmp_path):
    """In an environment of its own, with the packages of this one behind it."""
    called("-m", "venv", "--without-pip", tmp_path / "venv", folder=tmp_path)
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    (site / "behind.pth").write_text(f"{packages}\n")
    python, words = tmp_path / "venv" / "bin" / "python", ["pip", "install", "-q", "--no-deps", "--no-build-isolation"]
    env = {**os.environ, "PYTHONPATH": str(backend)}
    done = subprocess.run([python, "-m", *words, "-e", source], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    code = "import vgm2p.datamodules.offline, vgm2p.callbacks.evaluate, vgm2p.config.compose as b; print(b.config_folder())"
    done = subprocess.run(
        [python, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": ""}
    )
    assert done.stdout.strip() == str(source / "conf"), done.stderr
