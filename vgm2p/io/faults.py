"""Turns every exception into an error of one line: memory, disk, a file of the user, or a fault of this program."""

from __future__ import annotations

import errno
import shutil
import sysconfig
import traceback
from pathlib import Path

from vgm2p.errors import ConfigError, OutOfMemory, StorageError, UserError, out_of_memory

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
PACKAGE = Path(__file__).resolve().parents[1]
OURS = (PACKAGE, *((PACKAGE / name).resolve() for name in ("datamodules", "callbacks")))


def as_user_error(error: BaseException) -> UserError:
    """Return the error of one line that tells what an exception means for the user."""
    if isinstance(error, UserError):
        return error
    detail = f"{type(error).__name__}: {' '.join(str(error).split())[:90]}"
    if out_of_memory(error):
        return OutOfMemory(
            f"the memory is too small ({detail.splitlines()[0]}); lower seeds, data.batch_size, net.width or "
            "episodes, set data.max_resident=1GiB, or ask for more memory"
        )
    place = _user_frame(error)
    if place is not None:
        return ConfigError(f"{place}: {detail}; mend this file (VGM2P_DEBUG=1 shows the calls)")
    if isinstance(error, OSError):
        return storage_error(error, error.filename or "the run folder")
    return UserError(f"internal error ({detail}); VGM2P_DEBUG=1 shows where; please report it")


def storage_error(error: OSError, path: Path | str, need: int | None = None) -> StorageError:
    """Return the error for a file that could not be read or written; for a full disk, with free and needed bytes."""
    cause = error.strerror or str(error)
    if error.errno not in FULL:
        return StorageError(f"{path}: {cause}; fix permissions, or choose another out=")
    return StorageError(f"{path}: {cause} ({room(Path(path), need)}); free space, or choose another out=")


def room(path: Path, need: int | None = None) -> str:
    """Return how many bytes are free where `path` lies, and how many are needed, as a text."""
    folder = next((each for each in (path.absolute(), *path.absolute().parents) if each.is_dir()), Path("/"))
    needed = "" if need is None else f", {need} bytes needed"
    return f"{shutil.disk_usage(folder).free} bytes free{needed}"


def _user_frame(error: BaseException) -> str | None:
    """Return file, line and function of the last frame in a file of the user; None if there is none."""
    installed = [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "platlib")]
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if not path.is_file() or any(path.resolve().is_relative_to(base) for base in (*OURS, *installed)):
            continue
        return f"{path.name} line {frame.lineno} in {frame.name}"
    return None
