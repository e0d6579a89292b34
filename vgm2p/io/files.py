"""Writes files safely: after a crash, the old or the new file is complete. Links are not followed."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from vgm2p.errors import ConfigError, DataError, MissingInput, StorageError
from vgm2p.io.flock import lock_file
from vgm2p.io.text import shell_words, warn_once

CHUNK = 1 << 20
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the disk, the quota or the largest size of a file is reached
OLD = 3600.0  # seconds
LARGEST = 1 << 26  # bytes of a small text file
WITHOUT_SYNC = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)  # answers of file systems that cannot sync folders


@contextmanager
def written_aside(path: Path, ending: str = "") -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`. On success, sync it and rename it to `path`; else delete it.

    The temporary file is in the same folder, so the rename is atomic. It is locked meanwhile, so that `remove_stale` of
    another process spares it. `ending` is for writers that choose the format by the ending of the file name.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp{ending}")
    mark = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)  # fails if it exists, also as a link
    with suppress(OSError):  # without locks, its age must do
        fcntl.flock(mark, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: HDF5 locks what it reads
    try:
        with named(path, of=temporary):
            yield temporary
            sync(temporary)
            os.replace(temporary, path)
            sync(path.parent)
    finally:
        os.close(mark)
        temporary.unlink(missing_ok=True)


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write `content` to `path` atomically. If it raises OSError, the old file is unchanged."""
    data = content.encode() if isinstance(content, str) else content
    with written_aside(path) as temporary, named(path, len(data), temporary):
        temporary.write_bytes(data)


@contextmanager
def named(path: Path, need: int | None = None, of: Path | None = None) -> Iterator[None]:
    """Add to an OSError of the block what it often lacks: the file `path`, and on a full disk the bytes.

    Args:
        path: the file that is written.
        need: number of bytes to write, if it is known.
        of: the temporary file whose errors are those of `path`.
    """
    try:
        yield
    except OSError as error:
        if error.filename not in (None, str(of)):
            raise
        code = errno.ENOSPC if os.strerror(errno.ENOSPC) in str(error) else error.errno  # HDF5's errors have no number
        if code is None:
            raise
        cause = os.strerror(code)
        raise OSError(code, f"{cause} ({room(path, need)})" if code in FULL else cause, str(path)) from error


def room(path: Path, need: int | None = None) -> str:
    """Return how many bytes are free where `path` lies, and how many are needed, as a text."""
    folder = next((each for each in (path.absolute(), *path.absolute().parents) if each.is_dir()), Path("/"))
    needed = "" if need is None else f", {need} bytes needed"
    return f"{shutil.disk_usage(folder).free} bytes free{needed}"


def cache_folder() -> Path:
    """Return our folder in the user's cache folder. It may not exist yet. Raises ConfigError without a home folder."""
    found = os.path.expanduser(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    if found.startswith("~"):
        raise ConfigError(f"{found}: this user has no home folder; set XDG_CACHE_HOME to a folder")
    return Path(found) / "vgm2p"


def open_own(path: Path, mode: str) -> TextIO:
    """Open a text file for writing (`w`), appending (`a`) or both (`a+`). Create it if it does not exist.

    The folder may come from somebody else. Therefore a link, or anything else that is no plain file, is not opened.

    Raises:
        StorageError: if the path is not a plain file.
        OSError: if the file cannot be opened.
    """

    def opened(name: str, flags: int) -> int:
        try:
            descriptor = os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
        except OSError as error:
            if error.errno in (errno.EISDIR, errno.ENXIO):  # a folder, or a FIFO without a reader
                raise not_plain from None
            raise
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise not_plain
        return descriptor

    not_plain = StorageError(f"{path} is not a plain file; delete it, or choose another folder")
    refuse_link(path)
    return open(path, mode, opener=opened)  # type: ignore[return-value]


def refuse_link(path: Path) -> None:
    """Raise StorageError if `path`, in which or below which something is to be written, is a link."""
    if path.is_symlink():
        raise StorageError(f"{path} is a link, and links are not followed; delete it, or choose another folder")


def read_small(path: Path, most: int = LARGEST) -> bytes:
    """Return the content of a file that should be small. Nothing but a plain file, or a link to one, is read.

    Raises:
        DataError: if it is a FIFO, a device or a folder, or has more than `most` bytes.
        OSError: if it cannot be opened, for example because it does not exist.
    """
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise DataError(f"{path}: not a plain file; delete it, or restore it from a copy")
        if found.st_size > most:
            raise DataError(f"{path}: {found.st_size / 1e6:.0f} MB are too many for this file; restore it from a copy")
        return file.read()


SPECIAL = {stat.S_IFIFO: "FIFO", stat.S_IFSOCK: "socket", stat.S_IFCHR: "device", stat.S_IFBLK: "device"}


def require_file(path: Path, missing: str) -> None:
    """Check that `path` is a plain file that can be read, or a link to one. Nothing is opened, so a FIFO cannot hang.

    Args:
        path: the file.
        missing: what to say if it does not exist, with a remedy.

    Raises:
        MissingInput: if it does not exist, or there is no permission to read it.
        DataError: if it is a folder, a FIFO, a socket or a device.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: the name holds a zero byte
        if path.is_symlink():
            where = os.readlink(path)
            raise MissingInput(f"{path}: a link to {where}, which does not exist; restore it or the link") from None
        raise MissingInput(f"{path}: {missing}") from None
    except OSError as error:
        raise MissingInput(f"{path}: cannot be reached ({error.strerror}); check the path and its folders") from None
    if stat.S_ISDIR(mode):
        raise DataError(f"{path}: a folder, where a file is expected; give the file in it")
    if not stat.S_ISREG(mode):
        kind = SPECIAL.get(stat.S_IFMT(mode), "special file")
        raise DataError(f"{path}: a {kind}, not a plain file; give a plain file")
    if not os.access(path, os.R_OK):
        raise MissingInput(f"{path}: no permission to read it;", f"run `chmod u+r -- {shell_words(path)}`")


def require_folder(folder: Path, remedy: str) -> None:
    """Create a folder in which files will be written. Raises StorageError, with `remedy`, if it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{folder}: {error.strerror}; {remedy}") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StorageError(f"{folder}: no permission to write there; {remedy}")


def sync(path: Path) -> None:
    """Write the buffered content of a file or folder to disk (fsync).

    File systems that cannot do this for a folder are told once.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in WITHOUT_SYNC or not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise
        warn_once("this file system cannot sync folders: a power failure may lose the newest files; older ones stay")
    finally:
        os.close(descriptor)


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hex digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(CHUNK):
            digest.update(block)
    return digest.hexdigest()


def remove_stale(folder: Path, name: str | None = None) -> None:
    """Delete temporary files in `folder` that killed processes left when they wrote `name` (None: any file).

    Where locks do not tell whether their process lives, files that were changed in the last hour stay.
    """
    target = ".+" if name is None else re.escape(name)
    ours = re.compile(rf"\.{target}\.[0-9a-f]{{8}}\.tmp(\.\w+)?")
    for path in folder.glob(".*.tmp*"):
        if ours.fullmatch(path.name) and (path.is_symlink() or (path.is_file() and _left(path))):
            path.unlink(missing_ok=True)


def _left(path: Path) -> bool:
    """Return whether the process that wrote a temporary file has ended."""
    try:
        with path.open("r+b") as file:
            return lock_file(file) or is_old(path)
    except OSError as error:  # its process holds the lock; or it is of another user, or gone
        return not isinstance(error, BlockingIOError) and is_old(path)


def is_old(path: Path) -> bool:
    """Return whether a file, or everything in a folder, has not been changed for an hour. False if it is gone."""
    try:
        newest = max(each.lstat().st_mtime for each in (path, *path.rglob("*")))
    except OSError:
        return False
    return time.time() - newest > OLD


def refuse_existing(path: Path) -> None:
    """Raise StorageError if an output exists."""
    if path.exists():
        raise StorageError(f"{path} exists; choose another out=, or delete it")


def refuse_foreign(path: Path, begins: tuple[bytes, ...], key: str, writer: str) -> None:
    """Raise StorageError unless a file can be written here: a new one, an empty one, or one that `writer` wrote.

    Args:
        path: the file.
        begins: texts of which one stands in the first bytes of every file of `writer`.
        key: the key that names the file or its folder, for the message.
        writer: what writes such files.
    """
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise StorageError(f"{path} is not a plain file; choose another {key}=")
    if path.exists():
        with path.open("rb") as file:
            head = file.read(2000)
        if head and not any(text in head for text in begins):
            raise StorageError(f"{path} exists, and no {writer} has written it; choose another {key}=, or delete it")


def require_space(folder: Path, need: int, remedy: str) -> None:
    """Raise StorageError if fewer than `need` bytes are free at `folder`. (On a full disk, HDF5 may crash.)"""
    free = shutil.disk_usage(folder).free
    if free < need:
        raise StorageError(f"{folder}: {free / 1e9:.2f} GB free, {need / 1e9:.2f} GB needed; free space, or {remedy}")
