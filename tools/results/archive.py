"""Finished cells, packed into the repository: their numbers can be checked, and are not computed twice."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vgm2p.io.files import write_atomic
from vgm2p.io.folders import folder_aside
from vgm2p.run.folder import RunFolder

FILES = ("manifest.json", "timing.json", "episodes.csv", "metrics.csv", "results.json")
EPOCH = (1980, 1, 1, 0, 0, 0)  # the time of all packed files, so that equal cells are equal archives


def pack(runs: Path, cell: str, archive: Path) -> None:
    """Pack the files of a finished cell into `<archive>/<cell>.zip`, without its weights.

    Args:
        runs: folder of the run folders.
        cell: `<experiment>/<label>`, the cell's folder below `runs`.
        archive: folder of the packed cells.
    """
    content = io.BytesIO()
    places = _places(RunFolder(runs / cell).read_manifest()["config"], cell)
    with zipfile.ZipFile(content, "w", zipfile.ZIP_LZMA) as packed:
        for name in FILES:
            text = (runs / cell / name).read_text()
            if name.endswith(".json"):
                text = json.dumps(_replaced(json.loads(text), places), indent=1, sort_keys=True) + "\n"
            packed.writestr(zipfile.ZipInfo(name, EPOCH), text, zipfile.ZIP_LZMA)
    path = archive / f"{cell}.zip"
    if not path.exists() or path.read_bytes() != content.getvalue():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, content.getvalue())


def unpack(archive: Path, cell: str, runs: Path) -> bool:
    """Write the files of a packed cell to its folder below `runs`; return whether this was done.

    Does nothing without a packed cell. A folder that exists stays as it is: it may hold a run that goes on.
    """
    path, folder = archive / f"{cell}.zip", runs / cell
    if folder.exists() or not path.exists():
        return False
    with folder_aside(folder) as aside, zipfile.ZipFile(path) as packed:
        for name in FILES:
            (aside / name).write_bytes(packed.read(name))
    return True


def portable(config: Mapping[str, Any], cell: str) -> Any:
    """Return a cell's configuration with words in place of the folders of its machine, as in a packed cell."""
    return _replaced(config, _places(config, cell))


def _places(config: Mapping[str, Any], cell: str) -> dict[str, str]:
    """Return the folders that a cell's configuration names, and the words that replace them; long names first."""
    data = config["data"]
    found = {config["out"]: f"runs/{cell}", data["root"]: "$VGM2P_DATA", data["cache"]: "$VGM2P_CACHE"}
    return {str(place): found[place] for place in sorted(found, key=lambda place: -len(str(place))) if place}


def _replaced(value: Any, places: Mapping[str, str]) -> Any:
    """Return a JSON value whose texts have words for folders: where a text or a word in it starts with the folder."""
    if isinstance(value, Mapping):
        return {name: _replaced(each, places) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_replaced(each, places) for each in value]
    if isinstance(value, str):
        for place, word in places.items():
            value = re.sub(rf"(?<![^=\s]){re.escape(place)}(?=/|\s|$)", word, value)
    return value
