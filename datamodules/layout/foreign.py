"""Name the layout of an HDF5 file of another program, and the command that converts it."""

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

ONE_AGENT = {"D4RL": "actions", "Minari": "episode_0/actions"}  # layout -> where the joint actions are


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
    """Return the error for an HDF5 file that is not in our layout. If it can be converted, the line says how."""
    layout = layout_of(file)
    convert = ("data", "convert", path)
    out = f"out={path.with_name(f'{path.stem}_converted.h5')}"
    if layout == "our robot recording":
        return DataError(f"{path}: a robot recording, not in our layout; convert it:", command(*convert, out))
    if layout == "OMIGA":
        return DataError(f"{path}: an OMIGA file, not in our layout; convert it:", command(*convert, out))
    if layout in ONE_AGENT:
        width = _actions(file, ONE_AGENT[layout])
        return DataError(
            f"{path}: a {layout} file, not in our layout; convert it for a team, here with one agent per action:",
            command(*convert, f"agents={width}", out),
        )
    return DataError(f"{path}: {f'a {layout} file' if layout else 'an HDF5 file'}, not in our layout; {HOW}")


def _actions(file: h5py.File, name: str) -> int:
    """Return the width of the joint actions (T, K), or 1 if they cannot be read. Links are not followed."""
    parts = name.split("/")
    for depth in range(1, len(parts) + 1):
        above: h5py.Group = file["/".join(parts[: depth - 1])] if depth > 1 else file
        if parts[depth - 1] not in set(above):
            return 1
        if not isinstance(above.get(parts[depth - 1], getlink=True), h5py.HardLink):
            return 1
        if depth < len(parts) and not isinstance(above[parts[depth - 1]], h5py.Group):
            return 1
    found = file[name]
    return int(found.shape[1]) if isinstance(found, h5py.Dataset) and len(found.shape or ()) == 2 else 1
