"""A list of verified files in the user's cache folder, so that `verify=auto` hashes a file only once.

The list names a file by its path, size, modification time and inode number.
"""

from __future__ import annotations

import json
from pathlib import Path

from vgm2p.io.files import cache_folder, write_atomic

KEPT = 500  # number of files in the list


def _memory() -> Path:
    return cache_folder() / "verified.json"


def _fingerprint(path: Path) -> str:
    state = path.stat()
    return f"{state.st_size}:{state.st_mtime_ns}:{state.st_ino}"


def _load() -> dict[str, str]:
    try:
        content = json.loads(_memory().read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def is_remembered(path: Path) -> bool:
    """Whether this exact file was verified before."""
    return _load().get(str(path.resolve())) == _fingerprint(path)


def remember(path: Path) -> None:
    """Add a verified file to the list. If the list cannot be written, the file is hashed again next time."""
    entries = {**_load(), str(path.resolve()): _fingerprint(path)}
    try:
        _memory().parent.mkdir(parents=True, exist_ok=True)
        write_atomic(_memory(), json.dumps(dict(list(entries.items())[-KEPT:]), indent=0))
    except OSError:
        return
