"""Name the layout of an HDF5 file of another program, so that a user learns what to do with it."""

from __future__ import annotations

import re
from pathlib import Path

import h5py

from vgm2p.errors import DataError
from vgm2p.io.text import command

HOW = "docs/data.md, 'Data of another program', shows how to write it"
# layout -> names that it has, all of them
MARKS = {
    "our robot recording": ("observations", "actions", "rewards", "episode_offsets"),
    "D4RL": ("observations", "actions", "rewards", "terminals"),
    "OMIGA": ("s", "o", "a", "r", "d"),
    "pymarl (ODIS, CFCQL)": ("obs", "actions", "avail_actions", "reward", "terminated"),
}


def layout_of(file: h5py.File) -> str | None:
    """Return the name of the layout of an open file, or None if it is not known. Only names of links are read."""
    names = set(file)
    if any(re.fullmatch(r"episode_\d+", name) for name in names):
        return "Minari"
    if "data" in names and isinstance(file.get("data", getlink=True), h5py.HardLink):
        group = file["data"]
        if isinstance(group, h5py.Group) and any(re.fullmatch(r"demo_\d+", name) for name in group):
            return "robomimic"
    return next((layout for layout, marks in MARKS.items() if names.issuperset(marks)), None)


def not_ours(path: Path, file: h5py.File) -> DataError:
    """Return the error for an HDF5 file that is not in our layout."""
    layout = layout_of(file)
    if layout == "our robot recording":
        converted = path.with_name(f"{path.stem}_converted.h5")
        return DataError(
            f"{path}: a robot recording, not in our layout; convert it:",
            command("data", "convert", path, f"out={converted}"),
        )
    return DataError(f"{path}: {f'a {layout} file' if layout else 'an HDF5 file'}, not in our layout; {HOW}")
