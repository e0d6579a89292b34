"""Find data files by name: one rule for every folder that is searched."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from vgm2p.errors import DataError

ENDINGS = (".h5", ".hdf5")


def data_files(folder: Path) -> list[Path]:
    """Return the data files at or below a folder, sorted. Hidden files and folders are skipped, links are followed.

    macOS writes a hidden file `._x.h5` beside `x.h5` on foreign disks; it holds no data.
    """
    return sorted(path for path in _visible(folder) if path.suffix.lower() in ENDINGS)


def one_file(folder: Path, name: str) -> Path | None:
    """Return the data file `<name>.h5` or `<name>.hdf5` at or below a folder, or None.

    Links to one file, symbolic or hard, count once. Raises DataError if there are several: the newest or the first
    would be a guess.
    """
    found = [path for path in data_files(folder) if path.stem == name]
    different = distinct(found)
    if len(different) > 1:
        first, second = (path.relative_to(folder) for path in different[:2])
        raise DataError(f"{folder}: two files named {name}: {first} and {second}; move one away, or set data.root")
    return found[0] if found else None


def distinct(paths: list[Path]) -> list[Path]:
    """Return paths in their order, without those that lead to the file of an earlier one."""
    first: dict[object, Path] = {}
    for path in paths:
        first.setdefault(_identity(path), path)
    return list(first.values())


def _identity(path: Path) -> object:
    """Return what two links to one file have in common. A link that leads nowhere is a file of its own."""
    try:
        state = path.stat()
    except OSError:
        return path
    return state.st_dev, state.st_ino


def _visible(folder: Path) -> Iterator[Path]:
    """Yield what lies below a folder, except folders and hidden names. A folder that links lead to twice comes once."""
    seen: set[Path] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        seen.add(Path(place).resolve())
        folders[:] = [
            name for name in sorted(folders) if not name.startswith(".") and (Path(place) / name).resolve() not in seen
        ]
        yield from (Path(place) / name for name in files if not name.startswith("."))
