"""Flat files: wide columns as plain files, for data that do not fit into memory. Made once, then memory-mapped.

    <cache>/flat/<content hash>.<column>     bytes of the column, little-endian, row after row
    <cache>/flat/<content hash>.json         SHA-256 of each of these files; written last

One process at a time writes temporary files and renames them. The length of a flat file is always checked, its SHA-256
is compared as `verify` says. If a file is damaged, this is reported, and the flat files are made again.
"""

from __future__ import annotations

import hashlib
import json
import mmap
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from vgm2p.datamodules.layout.combine import check_same_task, concatenate
from vgm2p.datamodules.layout.consistency import check_episodes
from vgm2p.datamodules.layout.lanes import Lanes
from vgm2p.datamodules.layout.numbers import check_finite, check_numbers
from vgm2p.datamodules.layout.reading import damaged, hash_file, must_hash, outline, stream
from vgm2p.datamodules.layout.schema import Columns, ContentHash, as_bytes
from vgm2p.datamodules.layout.verified import is_remembered, remember
from vgm2p.errors import StorageError
from vgm2p.io.files import remove_stale, require_folder, require_space, sha256_file, write_atomic, written_aside
from vgm2p.run.lock import one_at_a_time

WIDE = ("actions", "legal_actions", "observations", "robot_observation", "state")  # columns with many numbers per row
UNUSED = ("agent_rewards",)  # wide columns that training does not use

Say = Callable[[str], None]


def map_columns(
    paths: list[Path], cache: Path, view: str, verify: str, say: Say
) -> tuple[Columns, dict[str, mmap.mmap]]:
    """Join datasets in order. Return the joined dataset, and the mapping of each wide column.

    The wide columns are read-only arrays over mapped flat files.

    Raises:
        MissingInput, ConfigError: as `reading.read`.
        DataError: as `reading.read`, or if the files record different tasks.
        StorageError: if the flat files cannot be written.
    """
    parts = [outline(path, (*WIDE, *UNUSED)) for path in paths]
    for path, part in zip(paths, parts, strict=True):
        check_episodes(path, part.steps, part.episodes, part.attributes)
    check_same_task(paths, parts, view)
    joined = concatenate([narrow(part) for part in parts])
    files = FlatFiles(cache / "flat", str(joined.attributes["content_sha256"]), paths, parts, say)
    maps = files.opened(verify)
    for name, mapped in maps.items():
        dtype, shape = files.columns[name]
        joined.steps[name] = np.frombuffer(mapped, dtype).reshape(shape)
    return joined, maps


def narrow(columns: Columns) -> Columns:
    """Return a dataset without its wide and its unused columns."""
    steps = {name: array for name, array in columns.steps.items() if name not in (*WIDE, *UNUSED)}
    return Columns(steps, columns.episodes, columns.attributes)


class FlatFiles:
    """The flat files for one content hash.

    Args:
        folder: folder of the flat files.
        digest: the content hash, which begins their names.
        paths: the HDF5 files from which they are made, in this order.
        parts: outlines of the HDF5 files.
        say: function that receives lines for the user.
    """

    def __init__(self, folder: Path, digest: str, paths: list[Path], parts: list[Columns], say: Say) -> None:
        self.folder, self.digest, self.paths, self.parts, self.say = folder, digest, paths, parts, say
        rows = sum(len(part.steps["t"]) for part in parts)
        self.columns = {
            name: (array.dtype.newbyteorder("<"), (rows, *array.shape[1:]))
            for name, array in parts[0].steps.items()
            if name in WIDE
        }
        self.bytes = {name: dtype.itemsize * int(np.prod(shape)) for name, (dtype, shape) in self.columns.items()}

    def opened(self, verify: str) -> dict[str, mmap.mmap]:
        """Return name -> mapping for reading. Missing or damaged files are made first.

        Raises DataError if a source is damaged, StorageError if the files cannot be written.
        """
        if self._fault(verify) is None:  # no lock is needed: a shared cache may be read-only
            self._verify_sources(verify)
            return {name: self._map(name) for name in self.columns}
        require_folder(self.folder, "set data.cache to a writable folder")
        with one_at_a_time(self.folder / f".{self.digest}.lock", f"flat files in {self.folder}", self.say):
            fault = self._fault(verify)  # another process may have just made them
            if fault is None:
                self._verify_sources(verify)
            else:
                if self._record.is_file():
                    self.say(f"{self.folder}: {fault}; making the flat files again")
                self._make()
            return {name: self._map(name) for name in self.columns}

    def path(self, name: str) -> Path:
        """Return the path of a column's flat file."""
        return self.folder / f"{self.digest}.{name}"

    @property
    def _record(self) -> Path:
        return self.folder / f"{self.digest}.json"

    # --- verification -----------------------------------------------------------------------------------------------

    def _fault(self, verify: str) -> str | None:
        """Return why the files cannot be used; None if they can."""
        try:
            record = json.loads(self._record.read_text())
            faults = [self._fault_of(name, record[name], verify) for name in self.columns]
        except FileNotFoundError:
            return "not made yet"
        except (OSError, ValueError, TypeError, KeyError) as error:
            return f"{self._record.name} is damaged ({type(error).__name__})"
        return next((fault for fault in faults if fault), None)

    def _fault_of(self, name: str, wanted: str, verify: str) -> str | None:
        path = self.path(name)
        if not path.is_file():
            return f"{path.name} is missing"
        if path.stat().st_size != self.bytes[name]:
            return f"{path.name} has {path.stat().st_size} bytes instead of {self.bytes[name]}"
        if verify == "full" or (verify == "auto" and not is_remembered(path)):
            if sha256_file(path) != wanted:
                return f"{path.name} differs from its SHA-256"
            remember(path)
        return None

    def _verify_sources(self, verify: str) -> None:
        for path, part in zip(self.paths, self.parts, strict=True):
            if must_hash(path, verify):
                if hash_file(path) != part.attributes["content_sha256"]:
                    raise damaged(path, part.attributes)
                remember(path)

    # --- making -----------------------------------------------------------------------------------------------------

    def _make(self) -> None:
        total = sum(self.bytes.values())
        self.say(f"writing {total / 1e6:.1f} MB of flat files to {self.folder}, once for this dataset")
        for name in self.columns:
            remove_stale(self.folder, self.path(name).name)
        require_space(self.folder, total, "set data.cache")
        try:
            with ExitStack() as stack:
                written = {name: stack.enter_context(written_aside(self.path(name))) for name in self.columns}
                digests = self._copy(written)
                self._validate(written)
            write_atomic(self._record, json.dumps(digests, indent=1))
        except OSError as error:
            raise StorageError(f"{self.folder}: {error.strerror or error}; free space, or set data.cache") from error
        for path in (*self.paths, *map(self.path, self.columns)):
            remember(path)

    def _copy(self, written: Mapping[str, Path]) -> dict[str, str]:
        """Write every column. Return name -> SHA-256. Raises DataError if a source differs from its content hash."""
        digests = {name: hashlib.sha256() for name in self.columns}
        with ExitStack() as stack:
            files: dict[str, IO[bytes]] = {
                name: stack.enter_context(open(path, "wb")) for name, path in written.items()
            }
            for path, part in zip(self.paths, self.parts, strict=True):
                content, done = ContentHash(), Counter[str]()
                with Lanes() as lanes:
                    for full, column, slab in stream(path):
                        calls: dict[str, Callable[[], Any]] = {"content": partial(content.add, full, column, slab)}
                        name, data = full.removeprefix("steps/"), as_bytes(slab)
                        if name in files:
                            calls["column"] = partial(digests[name].update, data)
                            calls["write"] = partial(files[name].write, data)
                        if name in UNUSED:  # no flat file from which the rules could read it
                            calls["finite"] = partial(check_finite, path, name, slab, done[name])
                        done[name] += len(slab)
                        lanes.run(**calls)
                if content.hexdigest() != part.attributes["content_sha256"]:
                    raise damaged(path, part.attributes)
        return {name: digest.hexdigest() for name, digest in digests.items()}

    def _validate(self, written: Mapping[str, Path]) -> None:
        """Read the new files back and check the rules for their numbers. Raises DataError."""
        first = 0
        for path, part in zip(self.paths, self.parts, strict=True):

            def rows(name: str, start: int, stop: int, part: Columns = part, first: int = first) -> NDArray[Any]:
                if name not in written:
                    return part.steps[name][start:stop]
                dtype, shape = self.columns[name]
                width = int(np.prod(shape[1:]))
                skip = (first + start) * width * dtype.itemsize
                found = np.fromfile(written[name], dtype, (stop - start) * width, offset=skip)
                return found.reshape(stop - start, *shape[1:])

            check_numbers(path, part.steps, part.attributes, rows)
            first += len(part.steps["t"])

    def _map(self, name: str) -> mmap.mmap:
        with open(self.path(name), "rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
