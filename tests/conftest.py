import os
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """Keep the user's cache folder out of the tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("VGM2P_CACHE", str(tmp_path_factory.getbasetemp() / "converted"))


@pytest.fixture(scope="session")
def backend(tmp_path_factory):
    """A folder for PYTHONPATH with the build backend that pyproject.toml asks for; empty where it is installed."""
    folder = tmp_path_factory.mktemp("backend")
    project = Path(__file__).parents[1] / "pyproject.toml"
    (needed,) = tomllib.loads(project.read_text())["build-system"]["requires"]
    name, least = needed.split(">=")
    if int(version(name).split(".")[0]) < int(least):
        pip = [sys.executable, "-m", "pip", "install", "-q", "--target", folder, needed]
        subprocess.run(pip, cwd=folder, env={**os.environ, "PYTHONPATH": ""}, check=True)
    return folder
