"""Open HDF5 files for reading. Every cause for which a file cannot be read has its own line and its own remedy."""

from __future__ import annotations

import errno
import fcntl
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from vgm2p.errors import DataError, MissingInput, OutOfMemory, UserError
from vgm2p.io.files import require_file

MISSING = "no such dataset; check the path and data.root, or see `vgm2p data list`"
RESTORE = "restore it from a copy, or make it again"  # the remedy for a damaged file
SIGNATURE = b"\x89HDF\r\n\x1a\n"
WRITING = ("already open for write", "unable to lock file")  # parts of messages of HDF5
MEMORY = ("cannot allocate memory", "memory allocation failed", "unable to allocate", "can't allocate")


@contextmanager
def opened(path: Path, missing: str = MISSING) -> Iterator[h5py.File]:
    """Yield an HDF5 file that is open for reading. Errors while it is open are translated as by `reading`.

    Raises:
        MissingInput: if the file does not exist (the line ends with `missing`), or there is no permission to read it.
        DataError: if it is not a plain HDF5 file, is damaged, or another program is writing it.
        OutOfMemory: if the memory is too small to read it.
    """
    require_file(path, missing)
    with reading(path):
        _refuse_writer(path)
        with h5py.File(path, "r", locking=False) as file:
            yield file


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn every error that h5py raises while a file is read into one line, with the remedy for its cause."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise _explained(path, error) from error


class BeingWritten(DataError):
    """Another program writes the file, or was killed while it wrote. The file may be good all the same."""


def being_written(path: Path) -> BeingWritten:
    """Return the error for a file that a writer has not closed."""
    return BeingWritten(
        f"{path}: another program is writing it, or was killed while it wrote; wait for it, or if it is dead:",
        f"h5clear -s {shlex.quote(str(path))}",
    )


def _refuse_writer(path: Path) -> None:
    """Raise DataError if another process has the file open for writing: HDF5 holds a lock then."""
    with open(path, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise being_written(path) from None
        except OSError:
            return  # a file system without locks


def _explained(path: Path, error: Exception) -> UserError:
    cause = " ".join(str(error).split())
    lower, number = cause.lower(), getattr(error, "errno", None)
    if isinstance(error, MemoryError) or number == errno.ENOMEM or any(part in lower for part in MEMORY):
        return OutOfMemory(f"{path}: not enough memory to read it; end other programs, or use a machine with more")
    if any(part in lower for part in WRITING):
        return being_written(path)
    if number in (errno.EACCES, errno.EPERM):
        return MissingInput(f"{path}: no permission to read it;", f"run `chmod u+r {shlex.quote(str(path))}`")
    if number in (errno.EMFILE, errno.ENFILE):
        return MissingInput(f"{path}: too many files are open; raise the limit with `ulimit -n 4096`")
    if number in (errno.EIO, errno.ESTALE, errno.EREMOTEIO, errno.ETIMEDOUT):
        return MissingInput(f"{path}: the disk cannot be read ({os.strerror(number)}); check the disk or the network")
    if path.is_file():
        if path.stat().st_size == 0:
            return DataError(f"{path}: empty file; {RESTORE}")
        if not _has_signature(path):
            return DataError(f"{path}: cannot be read as HDF5 (it is another kind of file); give an HDF5 file")
    return DataError(f"{path}: cannot be read ({cause[:90]}), so it is damaged; {RESTORE}")


def _has_signature(path: Path) -> bool:
    """Return whether the signature of HDF5 stands at the beginning, or behind a user block (512, 1024, ... bytes)."""
    with open(path, "rb") as file:
        size, place = os.fstat(file.fileno()).st_size, 0
        while place < size:
            file.seek(place)
            if file.read(len(SIGNATURE)) == SIGNATURE:
                return True
            place = max(512, 2 * place)
    return False
