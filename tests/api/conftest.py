"""What the tests of the functions for Python programs share."""

import shutil
from pathlib import Path

import pytest

STRANGERS = Path(__file__).parents[1] / "strangers"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A working folder with an environment of its own, `env=line`."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(STRANGERS / "conf", tmp_path / "conf")
    shutil.copy(STRANGERS / "line_world.py", tmp_path)
    return tmp_path
