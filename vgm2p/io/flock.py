"""Locks on open files. Some network and FUSE file systems have none; then the caller must do without."""

from __future__ import annotations

import errno
import fcntl
from typing import IO, Any

WITHOUT = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)  # what file systems without locks answer


def lock_file(file: IO[Any], wait: bool = False) -> bool:
    """Lock an open file for this process, until the file is closed or the process ends.

    Returns False if its file system has no locks. Raises BlockingIOError if another process holds the lock, unless
    `wait` is True.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as error:
        if error.errno in WITHOUT:
            return False
        raise
    return True
