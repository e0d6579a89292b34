"""Read HDF5 columns chunk by chunk, through HDF5 or directly from the file.

HDF5 copies chunks and compares their checksums in one thread, behind a lock. If the caller compares a hash over all
bytes, the checksums are not needed. The operating system can then read chunks directly, in several threads, which is
1.4 to 2.4 times faster. This works for chunks that consist of whole rows, are not compressed, and are followed by a
fletcher32 checksum.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

WORKERS = 2  # threads that read; copying from the page cache is limited by memory, so more threads are not faster
CHECKSUM_BYTES = 4


class Column:
    """One column of an open file.

    Args:
        dataset: the HDF5 dataset that stores the column.
        check: whether to compare the chunks with their checksums. Not needed if the caller compares a hash over all
            bytes.
    """

    def __init__(self, dataset: h5py.Dataset, check: bool = True) -> None:
        self.dataset = dataset
        self.shape: tuple[int, ...] = dataset.shape
        self.dtype: np.dtype[Any] = dataset.dtype.newbyteorder("<")
        self.row_bytes = max(1, self.dtype.itemsize * int(np.prod(self.shape[1:])))
        self.step = dataset.chunks[0] if dataset.chunks else max(1, min(len(dataset), (1 << 21) // self.row_bytes))
        self._direct = not check and is_plain(dataset)
        self._descriptor = int(dataset.file.id.get_vfd_handle()) if self._direct else -1

    def pieces(self) -> Iterator[tuple[int, int]]:
        """Yield (first row, row after the last) of every chunk."""
        for start in range(0, self.shape[0], self.step):
            yield start, min(start + self.step, self.shape[0])

    def read(self, start: int, out: NDArray[Any]) -> None:
        """Fill `out` (rows, ...) with the chunk that begins at row `start`. Raises OSError if the chunk is damaged."""
        where = self._place(start) if self._direct else None
        if where is None:
            self.dataset.read_direct(out, np.s_[start : start + len(out)])
        elif os.preadv(self._descriptor, [out.reshape(-1).view(np.uint8).data], where) != out.nbytes:
            raise OSError("the file is shorter than its chunks")

    def _place(self, start: int) -> int | None:
        """Return the position of a chunk in the file, in bytes. None: it was never written, or has other filters."""
        info = self.dataset.id.get_chunk_info_by_coord((start, *(0 for _ in self.shape[1:])))
        plain = info.byte_offset is not None and info.filter_mask == 0
        return info.byte_offset if plain and info.size == self.step * self.row_bytes + CHECKSUM_BYTES else None

    def load(self, pool: ThreadPoolExecutor) -> tuple[NDArray[Any], list[Future[None]]]:
        """Return an array for the whole column, and the tasks that fill it, one per chunk."""
        out = np.empty(self.shape, self.dtype)
        return out, [pool.submit(self.read, start, out[start:stop]) for start, stop in self.pieces()]

    def slabs(self, size: int) -> Iterator[NDArray[Any]]:
        """Yield the column in slabs of about `size` bytes, made of whole chunks. An empty column has one empty slab."""
        rows = self.step * max(1, size // (self.step * self.row_bytes))
        for first in range(0, max(1, self.shape[0]), rows):
            slab = np.empty((min(rows, self.shape[0] - first), *self.shape[1:]), self.dtype)
            for start in range(0, len(slab), self.step):
                self.read(first + start, slab[start : start + self.step])
            yield slab


@contextmanager
def workers(count: int) -> Iterator[ThreadPoolExecutor]:
    """Yield a pool of threads. At the end, tasks that have not begun are dropped.

    An error or a signal therefore waits only for the tasks that are running.
    """
    pool = ThreadPoolExecutor(count)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def is_plain(dataset: h5py.Dataset) -> bool:
    """Whether chunks are whole rows in this machine's byte order, and fletcher32 is their only filter."""
    if dataset.chunks is None or dataset.chunks[1:] != dataset.shape[1:] or not dataset.dtype.isnative:
        return False
    made = dataset.id.get_create_plist()
    filters = [made.get_filter(i)[0] for i in range(made.get_nfilters())]
    return filters == [h5py.h5z.FILTER_FLETCHER32] and sys.byteorder == "little"
