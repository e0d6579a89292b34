"""Temporary folders. Those of processes that were killed are deleted when the next one is made."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from vgm2p.io.files import is_old, open_own
from vgm2p.io.flock import lock_file

ALIVE = ".alive"  # a file in the folder, which its process keeps locked


class Scratch:
    """A new folder in the folder for temporary files. It is locked as long as this process runs, or until `remove`.

    Args:
        what: names its purpose: the folder is `vgm2p-<what>-<random>`.
    """

    def __init__(self, what: str) -> None:
        place = Path(tempfile.gettempdir())
        _remove_left(place)
        made = Path(tempfile.mkdtemp(prefix=".vgm2p-"))
        self._file = open_own(made / ALIVE, "w")
        if not lock_file(self._file):
            (made / ALIVE).unlink()  # nobody can know whether this process lives, so nobody may delete the folder
        self.path = made.rename(place / f"vgm2p-{what}-{secrets.token_hex(4)}")  # now others see it, and see the lock

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._file.close()


@contextlib.contextmanager
def scratch_folder(what: str) -> Iterator[Path]:
    """Yield a new temporary folder (see `Scratch`), and delete it after the block."""
    scratch = Scratch(what)
    try:
        yield scratch.path
    finally:
        scratch.remove()


def _remove_left(place: Path) -> None:
    """Delete the folders of processes of this user that have ended."""
    for folder in place.glob(".vgm2p-*"):  # not renamed yet: a living process does that at once
        with contextlib.suppress(OSError):
            if not folder.is_symlink() and folder.stat().st_uid == os.getuid() and is_old(folder):
                shutil.rmtree(folder, ignore_errors=True)
    for folder in place.glob("vgm2p-*"):
        with contextlib.suppress(OSError):
            alive = folder / ALIVE
            if folder.is_symlink() or folder.stat().st_uid != os.getuid() or not alive.is_file():
                continue
            with open_own(alive, "a") as file:
                if lock_file(file):
                    shutil.rmtree(folder, ignore_errors=True)
