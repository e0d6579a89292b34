"""`data=mine.h5`: a file in our layout where a name of `conf/data` is expected."""

from __future__ import annotations

from pathlib import Path

import h5py

from vgm2p.config.quoting import quoted
from vgm2p.config.typed import at_home

ENDINGS = (".h5", ".hdf5")


def with_own_files(words: list[str]) -> list[str]:
    """Replace `data=<file>` by the words that read this file, with its agents' own vectors if it stores these.

    `data=mine.h5` becomes `data=files data.source.paths=[mine.h5] data.view=native`. A view that the user has typed
    stays. A file that does not exist is refused by its reader.
    """
    return [new for word in words for new in (_own(word, words) if word.startswith("data=") else [word])]


def _own(word: str, words: list[str]) -> list[str]:
    path = at_home(word.removeprefix("data="))
    if len(path) > 1 and path[0] == path[-1] == '"':  # as a call in Python writes it
        path = path[1:-1]
    if not path.endswith(ENDINGS):
        return [word]
    typed = any(other.lstrip("+").startswith("data.view=") for other in words)
    view = [] if typed or not _stores_native(Path(path)) else ["data.view=native"]
    return ["data=files", f"data.source.paths=[{quoted(path)}]", *view]


def _stores_native(path: Path) -> bool:
    """Return whether a file stores the agents' own vectors. One that cannot be read is refused later, by its reader."""
    if not path.is_file():
        return False
    try:
        with h5py.File(path, "r", locking=False) as file:
            stored = "stored_view" in file.attrs and file.attrs["stored_view"] in ("omiga", b"omiga")
            return "steps/observations" in file and not stored
    except (OSError, RuntimeError):
        return False
