"""What SMAC needs on a machine: smacv2, the StarCraft II game and its maps. Names what is missing and how to get it."""

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
TABLE_MAPS = ("3m", "8m", "2s3z", "5m_vs_6m", "32x32_flat")  # of the paper's Table 1; SMACv2 plays on the last
OLDEST_BUILD = 55958  # 3.16.1, the first with the API [pysc2]
# smacv2 asks for protobuf < 3.21. Its messages also load with newer versions in protobuf's Python implementation, which
# 3.20 uses on Python 3.11, too. Games have processes of their own, so the rest of the program keeps its protobuf.
WORKER_ENVIRONMENT = {"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"}


def game_folder() -> Path:
    """Return where StarCraft II should be: $SC2PATH, or ~/StarCraftII."""
    return Path(os.environ.get("SC2PATH") or "~/StarCraftII").expanduser()


def packages() -> dict[str, str]:
    """Return package -> version, smacv2 with its commit where pip knows it. Raises MissingInput."""
    _raise_missing({GET_PACKAGES: _missing_packages()})
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
        raise ServiceError(
            f"protobuf {version('protobuf')} cannot read the game's messages ({cause}); run `make {GET_PACKAGES}`"
        )
    return f"{version('protobuf')}; games use its Python implementation, in processes of their own"


def game_build() -> int:
    """Return the build that pysc2 will start, the highest. Raises MissingInput."""
    _raise_missing({GET_GAME: _missing_game()})
    return max(_builds())


def require_maps(names: Iterable[str]) -> None:
    """Raise MissingInput naming every map without its file, `<name>.SC2Map`."""
    _raise_missing({GET_MAPS: _missing_maps(names)})


def require(map_file: str) -> dict[str, str]:
    """Return the versions of everything that decides a game on this map. Raises MissingInput for what is missing."""
    _raise_missing({GET_PACKAGES: _missing_packages(), GET_GAME: _missing_game(), GET_MAPS: _missing_maps([map_file])})
    return {**packages(), "StarCraft II": f"build {game_build()}"}


def _missing_packages() -> list[str]:
    """Return the first missing package, if any: one command installs all of them."""
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
    """Raise MissingInput with one command for all that is missing (target of the Makefile -> names), if anything is."""
    targets = [target for target, names in missing.items() if names]
    if targets:
        names = ", ".join(name for names in missing.values() for name in names)
        place = "" if targets == [GET_PACKAGES] else f" SC2PATH={shlex.quote(str(game_folder().absolute()))}"
        raise MissingInput(f"SMAC lacks {names}; run `make {' '.join(targets)}{place}` (docs/smac.md)")
