"""Digests of a vault's files: OCDBT's trees carry checksums, blosc chunks do not, and zips lose theirs when unpacked.

Unpacking leaves a record in the vault's folder; a vault placed by hand is recorded beside the converted file when it is
converted first. A later conversion compares.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from vgm2p.datamodules.vaults.vault import MARKERS
from vgm2p.errors import DataError
from vgm2p.io.files import sha256_file, write_atomic

NAME = "vgm2p.sha256.json"  # in a vault that was unpacked here


def seal(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a vault, by its path in the folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != NAME)
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in files}


def write_seal(path: Path, digests: Mapping[str, str]) -> None:
    """Write a record."""
    write_atomic(path, json.dumps(dict(digests), indent=0, sort_keys=True))


def check_seal(folder: Path, beside: Path, say: Callable[[str], None]) -> Callable[[], None]:
    """Compare a vault with its record; where it has none, say so and return what writes one after a good conversion.

    Args:
        folder: the folder of one uid.
        beside: where the record of a vault lies that was not unpacked here.
        say: told that there is no record.

    Raises:
        DataError: if a file is not what it was.
    """
    inside = folder / NAME
    found = seal(folder)
    wanted = _read(inside if inside.is_file() else beside)
    another = wanted is not None and any(wanted.get(name) != found.get(name) for name in MARKERS)
    if wanted is None or (another and not inside.is_file()):
        say(f"{folder.name}: placed by hand, so that damage done before now cannot be told from data")
        return lambda: write_seal(beside, found)
    changed = [name for name in sorted(wanted | found) if wanted.get(name) != found.get(name)]
    if changed:
        raise DataError(
            f"{folder}: {changed[0]} is not what it was when the vault was recorded; damaged: fetch it again"
        )
    return lambda: None


def _read(path: Path) -> dict[str, str] | None:
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text())
        return {str(name): str(digest) for name, digest in content.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(f"{path}: damaged; delete it, if the vault itself is sound") from error
