"""`data=mine.h5`: a file in our layout where a name of `conf/data` is expected."""

from __future__ import annotations

from pathlib import Path

import h5py

from vgm2p.config.quoting import quoted
from vgm2p.config.typed import at_home, exists, split
from vgm2p.errors import ConfigError

ENDINGS = (".h5", ".hdf5")


def with_own_files(words: list[str], several: bool) -> list[str]:
    """Replace `data=<file>` by the words that read this file, with its agents' own vectors if it stores these.

    `data=mine.h5` becomes `data=files data.source.paths=[mine.h5] data.view=native`. A view that the user has typed
    stays. A file that does not exist is refused by its reader.

    Args:
        words: what the user typed.
        several: whether the command starts several runs, so that commas separate files.

    Raises:
        ConfigError: if several runs would have files and names, or files that store different vectors.
    """
    return [new for word in words for new in (_own(word, words, several) if word.startswith("data=") else [word])]


def _own(word: str, words: list[str], several: bool) -> list[str]:
    value = word.removeprefix("data=")
    paths = [_path(each) for each in (split(value) if several and not exists(_path(value)) else [value])]
    named = [path for path in paths if not path.endswith(ENDINGS)]
    if len(named) == len(paths):
        return [word]
    if named:
        raise ConfigError(f"{word}: {named[0]} is no file; start the runs on files and the others by two commands")
    lists = ",".join(f"[{quoted(path)}]" for path in paths)
    if any(other.lstrip("+").startswith("data.view=") for other in words):
        return ["data=files", f"data.source.paths={lists}"]
    native = {_stores_native(Path(path)): path for path in paths}
    if len(native) > 1:
        raise ConfigError(
            f"data=: {native[True]} stores the agents' own vectors, {native[False]} does not; "
            "start them by two commands"
        )
    return ["data=files", f"data.source.paths={lists}", *(["data.view=native"] if True in native else [])]


def _path(text: str) -> str:
    """Return a path as it is meant: `~` is the home folder, and a call in Python writes it in quotes."""
    path = at_home(text)
    return path[1:-1] if len(path) > 1 and path[0] == path[-1] and path[0] in "'\"" else path


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
