"""Turns every exception into an error of one line: memory, disk, a file of the user, or a fault of this program."""

from __future__ import annotations

import errno
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vgm2p.errors import ConfigError, MissingInput, OutOfMemory, StorageError, UserError, out_of_memory
from vgm2p.io.files import FULL
from vgm2p.io.shell import missing_package
from vgm2p.io.text import OUTPUT

FORBIDDEN = (errno.EACCES, errno.EPERM)
PACKAGE = Path(__file__).resolve().parents[1]
OURS = (PACKAGE, *((PACKAGE / name).resolve() for name in ("datamodules", "callbacks")))


@contextmanager
def one_line() -> Iterator[None]:
    """Turn every exception of the block into a `UserError`."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise as_user_error(error) from error


def as_user_error(error: BaseException) -> UserError:
    """Return the error of one line that tells what an exception means for the user."""
    if isinstance(error, UserError):
        return error
    detail = f"{type(error).__name__}: {' '.join(str(error).split())[:90]}"
    if out_of_memory(error):
        return OutOfMemory(
            f"the memory is too small ({detail[:40].rstrip()}); lower seeds, data.batch_size, net.width or "
            "episodes, set data.max_resident=1GiB, or ask for more memory"
        )
    full = isinstance(error, OSError) and error.errno in FULL
    place = None if full else _user_frame(error)
    if place is not None:
        return ConfigError(f"{place}: {detail}; mend this file (VGM2P_DEBUG=1 shows the calls)")
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("vgm2p"):
        return MissingInput(*missing_package(error.name.partition(".")[0]))
    if isinstance(error, OSError):
        if error.errno == errno.ENOENT and error.filename is None:
            return StorageError("the working folder was deleted; change to another one")
        where = error.filename or "the run folder"
        if where == OUTPUT:
            return StorageError(f"{where}: {error.strerror}; send it to another file")
        if error.errno == errno.ENAMETOOLONG:
            return StorageError(f"{where}: {error.strerror}; give a shorter name")
        advice = "free space, or " if full else "fix permissions, or " if error.errno in FORBIDDEN else ""
        return StorageError(f"{where}: {error.strerror or error}; {advice}choose another out=")
    return UserError(f"internal error ({detail}); VGM2P_DEBUG=1 shows where; please report it")


def _user_frame(error: BaseException) -> str | None:
    """Return file, line and function of the last frame in a file of the user; None if there is none."""
    installed = [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "platlib")]
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if not path.is_file() or any(path.resolve().is_relative_to(base) for base in (*OURS, *installed)):
            continue
        return f"{path.name} line {frame.lineno} in {frame.name}"
    return None
