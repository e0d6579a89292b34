"""Write HDF5 files in a way that survives a full disk: HDF5 never sees a failed write.

After a failed write, the HDF5 library can neither close the file nor end the process without a crash. `Sink` therefore
hides the error from HDF5. The error is raised when HDF5 has closed the file, and the file is deleted. Signals are held
back until the next check, because their handlers raise an exception, which could come in the middle of a write.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from vgm2p.datamodules.layout.attributes import plain
from vgm2p.datamodules.layout.rules import validate
from vgm2p.datamodules.layout.schema import SCHEMA_VERSION, UNHASHED, Columns, attributes_hash, content_hash
from vgm2p.errors import StorageError
from vgm2p.io.files import remove_stale, require_folder, written_aside
from vgm2p.signals import held_back

CHUNK_BYTES = 1 << 22  # larger chunks are not faster, smaller chunks are slower


def write(path: Path, columns: Columns, compress: bool = False) -> str:
    """Validate a dataset, write it to a temporary file, rename it to `path`, and return the content hash.

    The same columns always give the same bytes.

    Raises:
        DataError: if the columns or the attributes break a rule of the layout. Nothing is written.
        StorageError: if the folder cannot be written, or the disk is full.
    """
    columns = replace(columns, attributes=plain(columns.attributes))
    validate(path, columns.steps, columns.episodes, columns.attributes)
    return store(path, columns, compress)


def store(path: Path, columns: Columns, compress: bool = False) -> str:
    """Write a dataset that is validated already, as `write` does."""
    kept = {key: value for key, value in columns.attributes.items() if key not in UNHASHED}
    attributes = {**kept, "schema_version": SCHEMA_VERSION, "content_sha256": content_hash(columns)}
    attributes["attributes_sha256"] = attributes_hash(attributes)
    require_folder(path.parent, "choose another folder")
    remove_stale(path.parent, path.name)
    with written_aside(path) as temporary:
        with new_hdf5(temporary) as (file, check):
            for name, array in columns.arrays():
                make_dataset(file, name, len(array), array.shape[1:], array.dtype, compress)[...] = array
                check()
            write_attributes(file, attributes)
        return str(attributes["content_sha256"])


class Sink(io.FileIO):
    """A new file whose writes always seem to succeed. `failure` is the error of the first failed write, or None."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+")
        self.failure: OSError | None = None

    def write(self, data: Any) -> int:
        """Write all bytes. After a failure, discard them."""
        view = memoryview(data).cast("B")
        written = 0
        while written < len(view) and self.failure is None:
            written += self._tried(super().write, view[written:]) or 0
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Set the length of the file in bytes."""
        self._tried(super().truncate, size)
        return size or 0

    def readinto(self, buffer: Any) -> int:
        """Read what was written. Discarded bytes are read as zeros."""
        view = memoryview(buffer).cast("B")
        found = super().readinto(view) or 0
        view[found:] = bytes(len(view) - found)
        return len(view)

    def check(self) -> None:
        """Raise StorageError if a write has failed."""
        if self.failure is not None:
            folder = Path(str(self.name)).parent
            raise StorageError(
                f"{folder}: {self.failure.strerror}; free space there, or choose another folder (fit: data.cache=)"
            )

    def _tried(self, call: Callable[..., int | None], *arguments: Any) -> int | None:
        try:
            return call(*arguments)
        except OSError as error:
            self.failure = self.failure or error
            return None


@contextmanager
def new_hdf5(path: Path) -> Iterator[tuple[h5py.File, Callable[[], None]]]:
    """Yield a new HDF5 file, and a function that raises StorageError if a write has failed.

    The function also lets signals through that were held back. It is called once more at the end.
    """
    with held_back() as signals, Sink(path) as sink:

        def check() -> None:
            sink.check()
            signals.release()

        try:
            with h5py.File(sink, "w", libver="latest", track_order=False) as file:
                yield file, check
        except Exception:
            sink.check()  # a full disk may be the cause of this error
            raise
        sink.check()


def write_attributes(file: h5py.File, attributes: Mapping[str, Any]) -> None:
    """Write the attributes, and at last `complete`, which marks a complete file.

    Texts are written with a fixed length. HDF5 then stores them in the object header, which has a checksum. It stores
    texts of variable length in a heap without a checksum, where a flipped bit can make the library read forever.
    """
    for key, value in sorted(attributes.items()):
        if isinstance(value, str):
            raw = value.encode()
            file.attrs.create(key, np.array(raw, h5py.string_dtype("utf-8", max(1, len(raw)))))
        else:
            file.attrs[key] = value
    file.attrs["complete"] = 1


def make_dataset(
    file: h5py.File, name: str, rows: int, shape: tuple[int, ...], dtype: np.dtype[Any], compress: bool = False
) -> h5py.Dataset:
    """Create an HDF5 dataset (rows, *shape) with checksums, in chunks of at most CHUNK_BYTES if a row is not larger."""
    row_bytes = max(1, dtype.itemsize * int(np.prod(shape)))
    chunk = max(1, min(rows, CHUNK_BYTES // row_bytes))
    options = {"compression": "gzip", "compression_opts": 9, "shuffle": True} if compress else {}
    return file.create_dataset(
        name, (rows, *shape), dtype, chunks=(chunk, *shape), fletcher32=True, track_times=False, **options
    )
