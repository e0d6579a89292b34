"""Fetching a dataset's zip from the Hugging Face hub: pinned on first contact, verified, resumable, offline-aware."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from vgm2p.datamodules.sources.catalogue import HUB, Entry
from vgm2p.errors import DataError, MissingInput, ServiceError, StorageError, UserError
from vgm2p.io.files import open_own, sha256_file, write_atomic

Answer = TypeVar("Answer")
LOCKFILE = "hub.lock.json"
SPARE = 1.1
UNPACKED = 2.4  # bytes of the vault and of our file, per byte of the zip, where the catalogue does not know
PACKED = 0.7  # bytes of a vault per byte of its arrays


@dataclass(frozen=True)
class Pin:
    """What a file of the hub must be: commit of its repository, bytes, SHA-256 (None where the hub has none)."""

    commit: str
    size: int
    sha256: str | None


class Hub:
    """The hub's copy of the datasets.

    Args:
        root: folder for the lock file, and for zips placed by hand (`raw/<source>/<env>/<scenario>.zip`).
        cache: folder in which vaults are unpacked and converted; counts where space is checked.
        revision: commit, tag or branch; None: what the lock file says, else `main` as it is now.
        say: told the plan and what happens.
    """

    def __init__(
        self, root: Path, cache: Path, revision: str | None = None, say: Callable[[str], None] = print
    ) -> None:
        self.root, self.cache, self.revision, self.say = root, cache, revision, say
        self._commit = "unknown"  # of the last fetch: a revision may be a branch

    def placed(self, entry: Entry) -> Path | None:
        """Return a vault folder or a zip that lies in the manual folder, if any."""
        base = self.root / "raw" / entry.source / entry.env
        for path in (base / f"{entry.scenario}.vlt", base / f"{entry.scenario}.zip"):
            if path.exists():
                return path
        return None

    def origin(self, entry: Entry, path: Path) -> dict[str, str]:
        """Return where a file or folder is from, for the converted file's attributes.

        Raises DataError if a zip is not the one that the catalogue pins.
        """
        digest = {"zip_sha256": sha256_file(path)} if path.is_file() else {}
        if entry.zip_sha256 is not None and digest.get("zip_sha256", entry.zip_sha256) != entry.zip_sha256:
            raise DataError(
                f"{path}: SHA-256 {digest['zip_sha256'][:12]}, catalogue: {entry.zip_sha256[:12]}; fetch it again"
            )
        commit = "placed by hand" if path == self.placed(entry) else self._commit
        return {"hub_path": entry.hub_path, "hub_commit": commit, **digest}

    def fetch(self, entry: Entry) -> Path:
        """Return the local zip of an entry's scenario, downloaded if need be and verified.

        Raises:
            MissingInput: offline and not in the cache; the line says what to place where.
            ServiceError: the hub cannot be reached, or refuses.
            DataError: the hub delivers other bytes than it announces, twice, or announces other bytes than pinned.
            StorageError: not enough space.
        """
        pin = _agreed(entry, self._pinned(entry))
        self._commit = pin.commit
        cached = self._cached(entry, pin)
        if cached is not None and self._fault(cached, pin) is None:
            return cached
        self._plan(entry, pin)
        for attempt in (1, 2):
            path = self._download(entry, pin, force=attempt == 2)
            fault = self._fault(path, pin)
            if fault is None:
                return path
            _forget(path)
            self.say(f"{entry.hub_path}: {fault}; {'fetching again' if attempt == 1 else 'given up'}")
        raise DataError(f"{entry.hub_path}: the hub delivered {fault}, twice; try later, or place the file by hand")

    # --- pins -------------------------------------------------------------------------------------------------------

    def _pinned(self, entry: Entry) -> Pin:
        """Return what the file must be: by the lock file, or as the hub has it now (written down at first)."""
        held = self._lock().get(entry.hub_path)
        if held is not None and self.revision in (None, held.commit):
            return held
        if offline():
            raise MissingInput(self._by_hand(entry, "HF_HUB_OFFLINE is set"))
        pin = self._ask(entry)
        if held is None:
            self.root.mkdir(parents=True, exist_ok=True)
            with open_own(self.root / ".hub.lock", "a") as guard:
                fcntl.flock(guard, fcntl.LOCK_EX)  # other scenarios are pinned at the same time
                pins = {name: asdict(known) for name, known in {**self._lock(), entry.hub_path: pin}.items()}
                write_atomic(self.root / LOCKFILE, json.dumps(pins, indent=1, sort_keys=True))
        return pin

    def _lock(self) -> dict[str, Pin]:
        path = self.root / LOCKFILE
        try:
            return {name: Pin(**pin) for name, pin in json.loads(path.read_text()).items()} if path.exists() else {}
        except (ValueError, TypeError, AttributeError) as error:
            raise DataError(f"{path}: damaged; delete it, and the next fetch pins the hub's state again") from error

    def _ask(self, entry: Entry) -> Pin:
        from huggingface_hub import HfApi

        def ask() -> Pin:
            api = HfApi()
            commit = api.repo_info(HUB, repo_type="dataset", revision=self.revision or "main").sha
            found = api.get_paths_info(HUB, entry.hub_path, repo_type="dataset", revision=commit)
            if not found or commit is None:
                raise MissingInput(f"{entry.hub_path}: the hub's {HUB} has no such file any more; see `data list`")
            file: Any = found[0]
            lfs = getattr(file, "lfs", None)
            return Pin(commit, int(file.size), None if lfs is None else str(lfs.sha256))

        return self._answered(entry, ask)

    # --- transfer ---------------------------------------------------------------------------------------------------

    def _cached(self, entry: Entry, pin: Pin) -> Path | None:
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(HUB, entry.hub_path, revision=pin.commit, repo_type="dataset")
        return Path(found) if isinstance(found, str) else None

    def _download(self, entry: Entry, pin: Pin, force: bool) -> Path:
        from huggingface_hub import hf_hub_download

        if offline():
            raise MissingInput(self._by_hand(entry, "HF_HUB_OFFLINE is set"))

        def transfer() -> Path:
            path = hf_hub_download(HUB, entry.hub_path, repo_type="dataset", revision=pin.commit, force_download=force)
            return Path(str(path))

        return self._answered(entry, transfer)

    def _fault(self, path: Path, pin: Pin) -> str | None:
        size = path.stat().st_size
        if size != pin.size:
            return f"{size} bytes instead of {pin.size}"
        if pin.sha256 is not None:
            found = sha256_file(path)
            if found != pin.sha256:
                return f"content {found[:12]} instead of {pin.sha256[:12]}"
        return None

    def _plan(self, entry: Entry, pin: Pin) -> None:
        """Print what will be transferred and written. Raises StorageError where it cannot fit."""
        from huggingface_hub.constants import HF_HUB_CACHE

        raw = entry.uncompressed_bytes_estimate
        unpacked = int(pin.size * UNPACKED if raw is None else raw * (1 + PACKED))
        needs: dict[int, tuple[Path, float]] = {}  # by file system: one folder on it, and what all together need
        for folder, size in ((Path(HF_HUB_CACHE), pin.size), (self.cache, unpacked)):
            known = _existing(folder)
            device = os.stat(known).st_dev
            first, sum_ = needs.get(device, (known, 0.0))
            needs[device] = (first, sum_ + SPARE * size)
        free = {folder: shutil.disk_usage(folder).free for folder, _ in needs.values()}
        self.say(
            f"fetching {entry.hub_path} from {HUB}: {pin.size / 1e9:.2f} GB, about {unpacked / 1e9:.2f} GB more while "
            f"converting; free {' and '.join(f'{size / 1e9:.1f} GB at {folder}' for folder, size in free.items())}"
        )
        for folder, need in needs.values():
            if free[folder] < need:
                raise StorageError(
                    f"{folder}: {free[folder] / 1e9:.1f} GB free, {need / 1e9:.1f} GB needed for {entry.hub_path}; "
                    "free space, or set HF_HOME and data.cache"
                )

    def _answered(self, entry: Entry, call: Callable[[], Answer]) -> Answer:
        """Call the hub; whatever goes wrong becomes one line."""
        from huggingface_hub import errors

        try:
            return call()
        except UserError:
            raise
        except (errors.GatedRepoError, errors.RepositoryNotFoundError) as error:
            raise ServiceError(self._by_hand(entry, f"the hub refuses {HUB} (login or address)")) from error
        except errors.LocalEntryNotFoundError as error:  # the client's word for a hub that does not answer
            raise ServiceError(self._by_hand(entry, _cause(error.__cause__ or error))) from error
        except (errors.EntryNotFoundError, errors.RevisionNotFoundError) as error:
            raise MissingInput(f"{entry.hub_path}: not at revision {self.revision or 'main'} of {HUB}") from error
        except OSError as error:
            if error.errno is not None and not isinstance(error, ConnectionError | TimeoutError):
                raise StorageError(f"{error.filename or 'the cache'}: {error.strerror}; set HF_HOME") from error
            raise ServiceError(self._by_hand(entry, _cause(error))) from error
        except Exception as error:  # the client's transport raises kinds of its own
            raise ServiceError(self._by_hand(entry, _cause(error))) from error

    def _by_hand(self, entry: Entry, why: str) -> str:
        place = self.root / "raw" / entry.source / entry.env / f"{entry.scenario}.zip"
        return f"{entry.hub_path} of {HUB} is not here ({why}); place it as {place}"


def _agreed(entry: Entry, pin: Pin) -> Pin:
    """Return what a file must be by hub and catalogue. Raises DataError where they contradict each other."""
    if entry.zip_sha256 is None:
        return pin
    if pin.sha256 not in (None, entry.zip_sha256):
        raise DataError(
            f"{entry.hub_path}: the hub has {str(pin.sha256)[:12]} at {pin.commit[:12]}, the catalogue pins "
            f"{entry.zip_sha256[:12]}; ask for the commit it pins with revision=, or correct the catalogue"
        )
    return replace(pin, sha256=entry.zip_sha256)


def offline() -> bool:
    """Whether the hub must not be asked."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON")


def _cause(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:60]


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def _forget(path: Path) -> None:
    """Drop a wrong file from the hub's cache: the pointer and the bytes it points to."""
    real = path.resolve()
    path.unlink(missing_ok=True)
    real.unlink(missing_ok=True)
