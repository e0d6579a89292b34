"""Runs that a test may damage: an undisturbed one, and one that ended earlier and can go on."""

import shutil

import pytest

from tests.cases.trusted import ENDED
from tests.run.runs import run, succeeded


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """An undisturbed run of 60 updates."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    succeeded(run(out))
    return out


@pytest.fixture(scope="session")
def shorter(tmp_path_factory):
    """A run that ended at 50 updates, and can go on to 60."""
    out = tmp_path_factory.mktemp("runs") / "shorter"
    succeeded(run(out, updates=ENDED))
    return out


@pytest.fixture
def out(shorter, tmp_path):
    return shutil.copytree(shorter, tmp_path / "run")
