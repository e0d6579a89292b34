"""What SMAC needs on a machine: smacv2, the StarCraft II game and its maps; what is missing, and how to get it."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from importlib.metadata import distribution, version
from pathlib import Path

from vgm2p.errors import MissingInput, ServiceError

PACKAGES = ("smacv2", "pysc2", "s2clientprotocol")
GET_PACKAGES = "make install-smac"
GET_GAME = "wget https://blzdistsc2-a.akamaihd.net/Linux/SC2.4.10.zip && unzip -P iagreetotheeula SC2.4.10.zip -d {}"
GET_MAPS = "make smac-maps"
TABLE_MAPS = ("3m", "8m", "2s3z", "5m_vs_6m", "32x32_flat")  # of the paper's Table 1; the last is behind SMACv2
OLDEST_BUILD = 55958  # 3.16.1, the first with the API [pysc2]
# smacv2 asks for protobuf < 3.21; its messages also load with newer ones in the Python implementation, which is what
# 3.20 has on Python 3.11, too. Games have processes of their own, so the rest of the program keeps its protobuf.
WORKER_ENVIRONMENT = {"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"}


def game_folder() -> Path:
    """Return where StarCraft II should be: $SC2PATH, or ~/StarCraftII."""
    return Path(os.environ.get("SC2PATH") or "~/StarCraftII").expanduser()


def packages() -> dict[str, str]:
    """Return package -> version, smacv2 with its commit where pip knows it. Raises MissingInput."""
    for name in PACKAGES:
        if importlib.util.find_spec(name) is None:
            raise MissingInput(f"package {name} is missing; run `{GET_PACKAGES}`")
    found = {name: version(name) for name in PACKAGES[:2]}
    origin = json.loads(distribution("smacv2").read_text("direct_url.json") or "{}")
    commit = origin.get("vcs_info", {}).get("commit_id")
    return {**found, "smacv2": f"{found['smacv2']} {commit[:7]}"} if commit else found


def protobuf() -> str:
    """Return how games read the game's messages. Raises MissingInput without pysc2, ServiceError if they cannot."""
    packages()
    environment = {**os.environ, **WORKER_ENVIRONMENT}
    command = [sys.executable, "-c", "import s2clientprotocol.sc2api_pb2"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        cause = done.stderr.strip().splitlines()[-1][:80]
        raise ServiceError(f"protobuf {version('protobuf')} cannot read the game's messages ({cause}); {GET_PACKAGES}")
    return f"{version('protobuf')}; games use its Python implementation, in processes of their own"


def game_build() -> int:
    """Return the build that pysc2 will start, the highest. Raises MissingInput."""
    folder = game_folder()
    found = [int(path.name[4:]) for path in folder.glob("Versions/Base*") if path.name[4:].isdigit()]
    programs = {build: folder / f"Versions/Base{build:05d}" / "SC2_x64" for build in found}
    if not found or max(found) < OLDEST_BUILD or not os.access(programs[max(found)], os.X_OK):
        raise MissingInput(f"no StarCraft II in {_short(folder)}; {GET_GAME.format(_short(folder.parent))}")
    return max(found)


def require_map(name: str) -> Path:
    """Return the file of a map, `<name>.SC2Map`. Raises MissingInput."""
    path = game_folder() / "Maps" / "SMAC_Maps" / f"{name}.SC2Map"
    if not path.is_file():
        raise MissingInput(f"map {path.name} is not in {_short(path.parent)}; run `{GET_MAPS}`")
    return path


def require(map_file: str) -> dict[str, str]:
    """Return the versions of everything that decides a game on this map. Raises MissingInput for what is not here."""
    found = {**packages(), "StarCraft II": f"build {game_build()}"}
    require_map(map_file)
    return found


def _short(path: Path) -> str:
    home = Path.home()
    return f"~/{path.relative_to(home)}".removesuffix("/.") if path.is_relative_to(home) else str(path)
