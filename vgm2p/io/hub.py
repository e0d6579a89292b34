"""The Hugging Face hub: its errors as one line each, and whether it may be contacted."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from vgm2p.errors import MissingInput, ServiceError, StorageError, UserError

Answer = TypeVar("Answer")
REFUSALS = (401, 403)  # HTTP status


def offline() -> bool:
    """Whether the user forbids contact with the hub (HF_HUB_OFFLINE)."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON")


def answered(call: Callable[[], Answer], repository: str, unreachable: Callable[[str], str], absent: str) -> Answer:
    """Return what a call of the hub's client returns. Turn every error into a UserError with one line.

    Args:
        call: the call.
        repository: name of the repository.
        unreachable: maps the cause of a failure to the line of a ServiceError.
        absent: line of a MissingInput, where the hub does not have the file or the revision.
    """
    from huggingface_hub import errors

    try:
        return call()
    except UserError:
        raise
    except (errors.GatedRepoError, errors.RepositoryNotFoundError) as error:
        raise ServiceError(unreachable(f"the hub refuses {repository} (check login and address)")) from error
    except errors.LocalEntryNotFoundError as error:  # the client raises this if the hub does not answer
        raise ServiceError(unreachable(cause(error.__cause__ or error))) from error
    except (errors.EntryNotFoundError, errors.RevisionNotFoundError) as error:
        raise MissingInput(absent) from error
    except OSError as error:
        if getattr(getattr(error, "response", None), "status_code", None) in REFUSALS:
            raise ServiceError(unreachable(f"the hub refuses {repository} (check login and address)")) from error
        if error.errno is not None and not isinstance(error, ConnectionError | TimeoutError):
            raise StorageError(f"{error.filename or 'the cache'}: {error.strerror}; set HF_HOME") from error
        raise ServiceError(unreachable(cause(error))) from error
    except Exception as error:  # the client's transport has error classes of its own
        raise ServiceError(unreachable(cause(error))) from error


def cause(error: BaseException) -> str:
    """Return class and beginning of the message of an error."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:60]


def forget(path: Path) -> None:
    """Delete a wrong file from the hub's cache: the symbolic link and the file that it points to."""
    real = path.resolve()
    path.unlink(missing_ok=True)
    real.unlink(missing_ok=True)
