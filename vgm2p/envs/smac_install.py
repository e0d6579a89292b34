"""Checks what SMAC needs: smacv2, the game StarCraft II and its maps. Errors say what is missing and how to get it."""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import distribution, version
from pathlib import Path

from vgm2p.errors import MissingInput, ServiceError

PACKAGES = ("smacv2", "pysc2", "s2clientprotocol")
GET_PACKAGES, GET_GAME, GET_MAPS = "install-smac", "sc2", "smac-maps"  # targets of the Makefile
# maps of the experiments; SMACv2 uses the last one
EXPERIMENT_MAPS = ("3m", "8m", "2s3z", "5m_vs_6m", "3s5z_vs_3s6z", "32x32_flat")
USUAL_BUILD = 75689  # StarCraft 4.10, which OG-MARL's installation script fetches
OLDEST_BUILD = 55958  # build 3.16.1, the first one with the API [pysc2]
# smacv2 asks for protobuf < 3.21. Newer versions work, too, with protobuf's Python implementation (which 3.20 also uses
# on Python 3.11). Games run in separate processes, so the rest of the program can use the faster implementation.
WORKER_ENVIRONMENT = {"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"}


def game_folder() -> Path:
    """Return the folder of StarCraft II: $SC2PATH, or ~/StarCraftII."""
    return Path(os.path.expanduser(os.environ.get("SC2PATH") or "~/StarCraftII"))


def packages() -> dict[str, str]:
    """Return package -> version; for smacv2 also the commit, if pip knows it. Raises MissingInput."""
    _raise_missing({GET_PACKAGES: _missing_packages()})
    found = {name: version(name) for name in PACKAGES[:2]}
    origin = json.loads(distribution("smacv2").read_text("direct_url.json") or "{}")
    commit = origin.get("vcs_info", {}).get("commit_id")
    return {**found, "smacv2": f"{found['smacv2']} {commit[:7]}"} if commit else found


def protobuf() -> str:
    """Return the version of protobuf. Raises ServiceError if it cannot read the game's messages; MissingInput."""
    packages()
    environment = {**os.environ, **WORKER_ENVIRONMENT}
    command = [sys.executable, "-c", "import s2clientprotocol.sc2api_pb2"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        cause = done.stderr.strip().splitlines()[-1][:80]
        raise ServiceError(
            f"protobuf {version('protobuf')} cannot read the game's messages ({cause}); run `make {GET_PACKAGES}`"
        )
    return f"{version('protobuf')}; games use its Python implementation, in separate processes"


def game_build() -> int:
    """Return the highest installed build, which pysc2 will start. Raises MissingInput."""
    _raise_missing({GET_GAME: _missing_game()})
    return max(_builds())


def require_maps(names: Iterable[str]) -> None:
    """Raise MissingInput with the names of all maps whose file `<name>.SC2Map` is missing."""
    _raise_missing({GET_MAPS: _missing_maps(names)})


def require(map_file: str) -> dict[str, str]:
    """Return the versions of packages and game. Raises MissingInput unless everything for this map is installed."""
    _raise_missing({GET_PACKAGES: _missing_packages(), GET_GAME: _missing_game(), GET_MAPS: _missing_maps([map_file])})
    return {**packages(), "StarCraft II": f"build {game_build()}"}


def _missing_packages() -> list[str]:
    """Return the first missing package, if any. (One command installs all packages.)"""
    return [name for name in PACKAGES if importlib.util.find_spec(name) is None][:1]


def _missing_game() -> list[str]:
    latest = max(_builds(), default=0)
    program = game_folder() / f"Versions/Base{latest:05d}" / "SC2_x64"
    return [] if latest >= OLDEST_BUILD and os.access(program, os.X_OK) else ["StarCraft II"]


def _missing_maps(names: Iterable[str]) -> list[str]:
    folder = game_folder() / "Maps" / "SMAC_Maps"
    return [f"{name}.SC2Map" for name in names if not (folder / f"{name}.SC2Map").is_file()]


def _builds() -> list[int]:
    names = [path.name[4:] for path in game_folder().glob("Versions/Base*")]
    return [int(name) for name in names if name.isdigit()]


def _raise_missing(missing: Mapping[str, list[str]]) -> None:
    """Raise MissingInput with one command for all `missing` parts (target of the Makefile -> names)."""
    targets = [target for target, names in missing.items() if names]
    if targets:
        names = ", ".join(name for names in missing.values() for name in names)
        place = "" if targets == [GET_PACKAGES] else f" SC2PATH={shlex.quote(str(game_folder().absolute()))}"
        raise MissingInput(f"SMAC lacks {names}; run `make {' '.join(targets)}{place}` (docs/smac.md)")
