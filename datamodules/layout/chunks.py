"""Reading HDF5 columns chunk by chunk: where chunks lie plainly in the file, straight into place and in threads.

HDF5 checks and copies chunks in one thread behind a lock. A chunk that is whole rows, uncompressed and followed by its
fletcher32 can be read to where it belongs by the operating system; its checksum is computed here. Everything else
(compressed files, other programs' chunks) goes through HDF5.
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

WORKERS = 2  # threads that read; more gain nothing, copying from the page cache is bound by memory
CHECKSUM_BYTES = 4
ROWS = 64  # a chunk is summed as a matrix of so many rows: small enough for the cache, and 32 bits do not overflow
PRIME = 65535
HALF = np.uint32(16)


class Column:
    """One column of an open file.

    Args:
        dataset: its dataset.
        check: whether to compare chunks with their checksums; not needed where a hash over all bytes is compared.
    """

    def __init__(self, dataset: h5py.Dataset, check: bool = True) -> None:
        self.dataset, self.check = dataset, check
        self.shape: tuple[int, ...] = dataset.shape
        self.dtype: np.dtype[Any] = dataset.dtype.newbyteorder("<")
        self.row_bytes = max(1, self.dtype.itemsize * int(np.prod(self.shape[1:])))
        self.step = dataset.chunks[0] if dataset.chunks else max(1, min(len(dataset), (1 << 21) // self.row_bytes))
        self._plain = is_plain(dataset)
        self._descriptor = int(dataset.file.id.get_vfd_handle()) if self._plain else -1

    def pieces(self) -> Iterator[tuple[int, int]]:
        """Yield (first row, row behind the last) of every chunk."""
        for start in range(0, self.shape[0], self.step):
            yield start, min(start + self.step, self.shape[0])

    def read(self, start: int, out: NDArray[Any]) -> None:
        """Fill `out` (rows, ...) with the chunk that begins at row `start`. Raises OSError where it is damaged."""
        where = self._place(start) if self._plain else None
        if where is None:
            self.dataset.read_direct(out, np.s_[start : start + len(out)])
            return
        whole = out if len(out) == self.step else np.empty((self.step, *self.shape[1:]), self.dtype)
        found = np.empty(CHECKSUM_BYTES, np.uint8)
        data = whole.reshape(-1).view(np.uint8)
        if os.preadv(self._descriptor, [data.data, found.data], where) != data.size + CHECKSUM_BYTES:
            raise OSError("the file is shorter than its chunks")
        if self.check and fletcher32(data) != int(found.view("<u4")[0]):
            raise OSError(f"checksum of rows {start} to {start + len(out) - 1} of {self.dataset.name} differs")
        if whole is not out:
            out[...] = whole[: len(out)]

    def _place(self, start: int) -> int | None:
        """Return where a chunk lies, or None if it was never written or not filtered like the others."""
        info = self.dataset.id.get_chunk_info_by_coord((start, *(0 for _ in self.shape[1:])))
        plain = info.byte_offset is not None and info.filter_mask == 0
        return info.byte_offset if plain and info.size == self.step * self.row_bytes + CHECKSUM_BYTES else None

    def load(self, pool: ThreadPoolExecutor) -> tuple[NDArray[Any], list[Future[None]]]:
        """Return an array for the whole column, and what fills it, chunk after chunk."""
        out = np.empty(self.shape, self.dtype)
        return out, [pool.submit(self.read, start, out[start:stop]) for start, stop in self.pieces()]

    def slabs(self, size: int) -> Iterator[NDArray[Any]]:
        """Yield the column in slabs of about `size` bytes, each whole chunks; at least one, if an empty one."""
        rows = self.step * max(1, size // (self.step * self.row_bytes))
        for first in range(0, max(1, self.shape[0]), rows):
            slab = np.empty((min(rows, self.shape[0] - first), *self.shape[1:]), self.dtype)
            for start in range(0, len(slab), self.step):
                self.read(first + start, slab[start : start + self.step])
            yield slab


@contextmanager
def workers(count: int) -> Iterator[ThreadPoolExecutor]:
    """Yield a pool of threads; what has not begun at the end is dropped: an error or a signal waits for little."""
    pool = ThreadPoolExecutor(count)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def is_plain(dataset: h5py.Dataset) -> bool:
    """Whether chunks are whole rows in this machine's byte order with a checksum behind each, and nothing else."""
    if dataset.chunks is None or dataset.chunks[1:] != dataset.shape[1:] or not dataset.dtype.isnative:
        return False
    made = dataset.id.get_create_plist()
    filters = [made.get_filter(i)[0] for i in range(made.get_nfilters())]
    return filters == [h5py.h5z.FILTER_FLETCHER32] and sys.byteorder == "little"


def fletcher32(data: NDArray[np.uint8]) -> int:
    """Return HDF5's checksum: sums modulo 65535 of big-endian words, and of those sums.

    With n words w_i these are sum(w_i) and sum((n - i) w_i). Swapping the bytes of every word multiplies both by 256,
    so the words are summed as they lie, two to a 32-bit number. A byte left over counts as the high half of a word.
    """
    if len(data) % 2:
        data = np.append(data, np.uint8(0))
    words = len(data) // 2
    width = words // 2 // ROWS * 2  # words per row of the matrix
    plain, weighted = _columns(data[: ROWS * width * 2].view(np.uint32).reshape(ROWS, width // 2))
    tail = data[ROWS * width * 2 :].view(np.uint16).astype(np.int64)
    ahead = (len(tail) - np.arange(width)) % PRIME  # what n - i is in the last row of the matrix, less one row
    first = int(plain.sum()) + int(tail.sum())
    second = int((plain % PRIME * ahead).sum()) + width * int(weighted.sum())
    second += int((tail * np.arange(len(tail), 0, -1)).sum())
    if first == 0:
        return 0
    return (first * 256 % PRIME or PRIME) | (second * 256 % PRIME or PRIME) << 16  # HDF5 writes 0 for zeros only


def _columns(rows: NDArray[np.uint32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return, per column of words, its sum, and its sum weighted by the number of rows from that row to the last.

    Pairs are summed modulo 2^32, high words exactly; low words are what is left of the pairs, for they cannot overflow.
    """
    pairs, pairs_weighted, high, high_weighted, part = np.zeros((5, rows.shape[1]), np.uint32)
    for row in rows:
        np.add(pairs, row, out=pairs)
        np.add(pairs_weighted, pairs, out=pairs_weighted)
        np.right_shift(row, HALF, out=part)
        np.add(high, part, out=high)
        np.add(high_weighted, high, out=high_weighted)
    return _words(pairs, high), _words(pairs_weighted, high_weighted)


def _words(pairs: NDArray[np.uint32], high: NDArray[np.uint32]) -> NDArray[np.int64]:
    return np.stack([pairs - (high << HALF), high], -1).reshape(-1).astype(np.int64)
