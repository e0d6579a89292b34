"""The stand-in for StarCraft II in place of the game, and environments on it."""

import time

import pytest

from tests.envs.fake_sc2 import install
from tests.envs.smac_games import games
from vgm2p.envs.smac import SMACv1, SMACv2
from vgm2p.envs.smac_maps import RACES


@pytest.fixture
def game(tmp_path, monkeypatch):
    """Return a function that installs the stand-in with a plan and points SC2PATH to it."""

    def make(**plan):
        home = install(tmp_path / f"sc2-{len(list(tmp_path.iterdir()))}", **plan)
        monkeypatch.setenv("SC2PATH", str(home))
        return home

    yield make
    deadline = time.monotonic() + 30
    while games(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert games(tmp_path) == []  # whatever a test did, nothing is left


@pytest.fixture
def make():
    """Return a function that makes environments, closed at the end."""
    made = []

    def one(name, **options):
        race, *numbers = name.replace("_vs", "").split("_")
        env = SMACv2(race, *map(int, numbers), **options) if race in RACES else SMACv1(name, **options)
        made.append(env)
        return env

    yield one
    for env in made:
        env.close()
