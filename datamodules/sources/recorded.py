"""Sources of datasets: recordings of single robots, files in our layout, and the bundled datasets."""

from __future__ import annotations

import glob
import shlex
from collections.abc import Callable
from pathlib import Path

import vgm2p
from vgm2p.datamodules.layout.checks import discard_damaged, store_checked
from vgm2p.datamodules.sources.finder import data_files, distinct, one_file
from vgm2p.datamodules.sources.recording import columns_of, digest_of, read_recording
from vgm2p.datamodules.vaults.vault import MARKERS
from vgm2p.errors import ConfigError, MissingInput
from vgm2p.io.files import require_file, require_folder
from vgm2p.io.text import say
from vgm2p.run.lock import one_at_a_time


class Recorded:
    """Recordings `<name>.hdf5` of a robot, concatenated in the given order. Each is converted to our layout once.

    Args:
        root: folder of the recordings. Its subfolders are searched, too.
        names: names of the recordings, without their ending.
        cache: folder of converted files.
    """

    discrete = False

    def __init__(self, root: str, names: list[str], cache: str) -> None:
        self.root, self.names, self.cache = Path(root), names, Path(cache)

    def resolve(self) -> list[Path]:
        """Return the converted files, and print which recordings they come from.

        Raises:
            MissingInput: if a recording is not below `root`. The line says where to place it.
            DataError: if a recording is damaged, contradicts itself, or if there are two of its name.
            StorageError: if the folder of converted files cannot be written.
        """
        return [RecordingFile(self._find(name), self.cache, say).resolve()[0] for name in self.names]

    def _find(self, name: str) -> Path:
        missing = f"not below data.root={self.root}; place it there, or set data.root="
        found = one_file(self.root, name)
        if found is None:
            raise MissingInput(f"recording {name}.hdf5 is {missing}")
        require_file(found, missing)
        return found


class RecordingFile:
    """Source for one recording of a robot, converted once.

    Args:
        path: the recording.
        cache: folder of converted files.
        say: function that receives lines for the user.
    """

    def __init__(self, path: Path, cache: Path, say: Callable[[str], None]) -> None:
        self.path, self.cache, self.say = path, cache, say

    @property
    def target(self) -> Path:
        """The converted file. Its name contains a digest of the recording."""
        return self.cache / f"{self.path.stem}-{digest_of(self.path)[:8]}.h5"

    def resolve(self) -> list[Path]:
        """Return the converted file. Make it if it does not exist. Raises DataError, MissingInput or StorageError."""
        require_file(self.path, "no such recording")
        self.say(f"recording    {self.path}")
        target = self.target
        if not target.is_file():  # else no lock is needed: a shared cache may be read-only
            require_folder(self.cache, "set cache= (fit: data.cache=) to a writable folder")
            with one_at_a_time(self.cache / f".{self.path.stem}.lock", self.path.name, self.say):
                if not target.is_file():
                    convert(self.path, target)
        return [target]

    def renew(self) -> Path:
        """Verify the converted file in full, make it again if it is damaged, and return it. Raises as `resolve`."""
        discard_damaged(self.target, self.say)
        return self.resolve()[0]

    def convert_to(self, target: Path) -> Path:
        """Convert the recording into a new file outside the cache. Raises as `resolve`."""
        convert(self.path, target)
        return target


class Files:
    """HDF5 files in our layout.

    Args:
        paths: paths, globs, and folders of which all data files are taken.
        command: command that records the file, for the error message about a missing file.
        discrete: whether actions are indices, where that is known before the file exists.
    """

    def __init__(self, paths: list[str], command: str | None = None, discrete: bool | None = None) -> None:
        self.paths, self.command, self.discrete = paths, command, discrete

    def resolve(self) -> list[Path]:
        """Return the files. What a glob or a folder gives is sorted, taken once, and printed.

        Raises:
            ConfigError: if no path is named.
            MissingInput: if a path or glob matches no file, or a folder holds none.
            DataError: if a path is no plain file.
        """
        if not self.paths:
            raise ConfigError("data.source.paths is empty; name a file: data.source.paths=[<file>]")
        found = [path for pattern in self.paths for path in self._matches(pattern)]
        once = distinct(found)
        if len(once) < len(found):
            say(f"files        named more than once, and taken once: {len(found) - len(once)} of {len(found)}")
        return once

    def _matches(self, pattern: str) -> list[Path]:
        remedy = "give its path, or a glob: data.source.paths=[<file>]"
        given = Path(pattern)
        # the name of a file may contain brackets, which mean something else in a glob
        literal = given.exists() or given.is_symlink()
        matches = [given] if literal else [Path(match) for match in sorted(glob.glob(pattern, recursive=True))]
        if not matches and self.command:
            command = self.command.replace(f"out={pattern}", shlex.quote(f"out={pattern}"))
            raise MissingInput(f"{pattern}: no such dataset file; record it:", command)
        if not matches:
            raise MissingInput(f"{pattern}: no such dataset file; {remedy}")
        found = [path for match in matches for path in (data_files(match) if match.is_dir() else [match])]
        if not found and all((given / marker).is_file() for marker in MARKERS):
            raise MissingInput(f"{pattern}: a vault, not HDF5 files; use data=vault data.source.path=<this folder>")
        if not found:
            raise MissingInput(f"{pattern}: no HDF5 file in this folder; {remedy}")
        for path in found:
            require_file(path, f"no such dataset file; {remedy}")
        found = distinct(found)
        if found != [given]:
            say(f"files        {', '.join(map(str, found))}")
        return found


class Bundled:
    """A dataset that ships with the package.

    Args:
        name: name of its file in `vgm2p/data`, without `.h5`.
        discrete: whether actions are indices.
    """

    def __init__(self, name: str = "6halfcheetah_quickstart", discrete: bool = False) -> None:
        self.name, self.discrete = name, discrete

    def resolve(self) -> list[Path]:
        """Return the path of its file. Raises MissingInput if there is none."""
        path = Path(vgm2p.__file__).resolve().parent / "data" / f"{self.name}.h5"
        if not path.is_file():
            raise MissingInput(
                f"data.source.name={self.name}: the package has no such dataset; see vgm2p/data/README.md"
            )
        return [path]


def convert(source: Path, target: Path) -> None:
    """Convert a recording into a new file, then read the file back and verify it.

    The recording is judged before anything is written. Raises DataError if one of the two is damaged, or the recording
    contradicts itself.
    """
    arrays, attributes = read_recording(source)
    store_checked(source, target, columns_of(arrays, attributes, digest_of(source)))
