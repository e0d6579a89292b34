"""Writes folders safely: after a crash, the old or the new folder is there, or comes back with the next writer."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vgm2p.io.files import named, sync


@contextmanager
def folder_aside(path: Path) -> Iterator[Path]:
    """Yield a new folder beside `path`. On success, sync its files and rename it to `path`; else delete it.

    A folder that `path` names is deleted after that. Folders that killed processes left here are deleted first; but if
    one was killed between its two renames, its former folder gets its name back. The caller holds a lock, and has
    checked that nothing is lost.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    left = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}\.(tmp|old)")
    for folder in [folder for folder in path.parent.iterdir() if left.fullmatch(folder.name)]:
        _give_back(folder, path)
        shutil.rmtree(folder, ignore_errors=True)
    mark = secrets.token_hex(4)
    temporary, former = (path.with_name(f".{path.name}.{mark}.{kind}") for kind in ("tmp", "old"))
    temporary.mkdir()
    try:
        with named(path, of=temporary):
            yield temporary
            for file in temporary.iterdir():
                sync(file)
            if path.exists():
                os.replace(path, former)
            os.replace(temporary, path)
            sync(path.parent)
    finally:
        _give_back(former, path)
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(former, ignore_errors=True)


def _give_back(folder: Path, path: Path) -> None:
    """Rename a former folder to `path` if nothing has this name."""
    if folder.suffix == ".old" and folder.exists() and not path.exists():
        os.replace(folder, path)
