"""What SMAC needs on a machine: smacv2, the StarCraft II game and its maps; what is missing, and how to get it."""

from __future__ import annotations

import importlib.util
import json
import os
from importlib.metadata import distribution, version
from pathlib import Path

from vgm2p.errors import MissingInput

PACKAGES = ("smacv2", "pysc2", "s2clientprotocol")
GET_PACKAGES = "make install-smac"
GET_GAME = (
    "wget https://blzdistsc2-a.akamaihd.net/Linux/SC2.4.10.zip && unzip -P iagreetotheeula SC2.4.10.zip -d {parent}"
)
GET_MAPS = "cp -r smacv2/smacv2/env/starcraft2/maps/SMAC_Maps {maps} (git clone https://github.com/oxwhirl/smacv2)"
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
            raise MissingInput(f"package {name} is missing; run `{GET_PACKAGES}` (docs/smac.md)")
    found = {name: version(name) for name in PACKAGES[:2]}
    origin = json.loads(distribution("smacv2").read_text("direct_url.json") or "{}")
    commit = origin.get("vcs_info", {}).get("commit_id")
    return {**found, "smacv2": f"{found['smacv2']} {commit[:7]}"} if commit else found


def game_build() -> int:
    """Return the build that pysc2 will start, the highest. Raises MissingInput."""
    folder = game_folder()
    found = [int(path.name[4:]) for path in folder.glob("Versions/Base*") if path.name[4:].isdigit()]
    programs = {build: folder / f"Versions/Base{build:05d}" / "SC2_x64" for build in found}
    if not found or max(found) < OLDEST_BUILD or not os.access(programs[max(found)], os.X_OK):
        raise MissingInput(f"StarCraft II is not in {folder} (SC2PATH); {GET_GAME.format(parent=folder.parent)}")
    return max(found)


def require_map(name: str) -> Path:
    """Return the file of a map, `<name>.SC2Map`. Raises MissingInput."""
    maps = game_folder() / "Maps"
    path = maps / "SMAC_Maps" / f"{name}.SC2Map"
    if not path.is_file():
        raise MissingInput(f"map {name}.SC2Map is not in {path.parent}; {GET_MAPS.format(maps=maps)}")
    return path


def require(map_file: str) -> dict[str, str]:
    """Return the versions of everything that decides a game on this map. Raises MissingInput for what is not here."""
    try:
        found = {**packages(), "StarCraft II": f"build {game_build()}"}
        require_map(map_file)
    except MissingInput as error:
        raise MissingInput(f"{error.line}; or add evaluate=none to train only") from None
    return found
