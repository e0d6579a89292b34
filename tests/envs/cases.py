"""The environments to test: the yaml files of `conf/env`, and which of them can be made here."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from tests.envs.fake_sc2 import install
from vgm2p.config.build import make_env
from vgm2p.config.compose import config_folders
from vgm2p.envs.base import VectorEnv
from vgm2p.errors import ConfigError, MissingInput

VIEWS = ("raw_onehot", "omiga", "native")


def env_files(folders: list[Path]) -> dict[str, Path]:
    """Return env name -> yaml, as `env=<name>` finds them; CONTRACT_ENVS=a,b picks these alone."""
    found: dict[str, Path] = {}
    for folder in (path / "env" for path in folders):
        for path in sorted(folder.rglob("*.yaml")):
            found.setdefault(path.relative_to(folder).with_suffix("").as_posix(), path)
    chosen = os.environ.get("CONTRACT_ENVS", "")
    return {name: found[name] for name in chosen.split(",")} if chosen else found


FILES = env_files(config_folders())
GIVEN = {  # env name -> values of the keys that a user must give
    "pettingzoo": {"module": "tests.envs.parallel_games", "episode_limit": 6},
    "gymnasium": {"env_id": "Hopper-v5", "agents": 3},
}


def build(path: Path, **changes) -> VectorEnv:
    """Return the environment of a yaml, in the first view that it takes. Raises MissingInput without its simulator."""
    changes = {**GIVEN.get(path.stem, {}), **changes}
    refused = None
    for view in VIEWS:
        node = OmegaConf.create({"env": OmegaConf.load(path), "data": {"view": view}})
        node.env.update(changes)
        try:
            return make_env(OmegaConf.to_container(node, resolve=True)["env"])
        except ConfigError as error:
            refused = refused or error
    raise refused


@cache
def stand_in() -> tempfile.TemporaryDirectory:
    """Return a folder with the stand-in for StarCraft II, removed when the tests end."""
    folder = tempfile.TemporaryDirectory(prefix="vgm2p-game-")
    install(Path(folder.name) / "sc2")
    return folder


@contextmanager
def game():
    """Let SMAC play the stand-in for StarCraft II where smacv2 is installed and SC2PATH names no game."""
    with pytest.MonkeyPatch.context() as patch:
        if "SC2PATH" not in os.environ and importlib.util.find_spec("smacv2"):
            patch.setenv("SC2PATH", str(Path(stand_in().name) / "sc2"))
        yield


@cache
def missing(path: Path) -> str:
    """Return what a yaml's simulator lacks here; empty where it can be made."""
    try:
        with game():
            build(path).close()
    except MissingInput as error:
        return error.line
    return ""
