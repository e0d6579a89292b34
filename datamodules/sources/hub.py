"""Download the zip of a dataset from the Hugging Face hub.

The first contact with a file pins its commit and its digest. Every download is verified, and an interrupted download is
resumed. Without a network, zips in the cache or placed by hand are used.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from vgm2p.datamodules.sources.catalogue import HUB, Entry
from vgm2p.errors import ConfigError, DataError, MissingInput, StorageError
from vgm2p.io.files import require_file, sha256_file, write_atomic
from vgm2p.io.hub import Answer, answered, forget, offline
from vgm2p.run.lock import one_at_a_time

LOCKFILE = "hub.lock.json"
SPARE = 1.1  # free space that is required, relative to the space that is needed
UNPACKED = 2.4  # bytes of vault and converted file per byte of the zip, if the catalogue has no estimate
PACKED = 0.7  # bytes of a vault on disk per byte of its arrays in memory


@dataclass(frozen=True)
class Pin:
    """Identity of a file on the hub: commit of the repository, size in bytes, SHA-256 (None if the hub has none)."""

    commit: str
    size: int
    sha256: str | None


class Hub:
    """Client for the published datasets on the hub.

    Args:
        root: folder of the lock file, and of zips that the user places by hand (`raw/<source>/<env>/<scenario>.zip`).
        cache: folder in which vaults are unpacked and converted. Its free space is checked before a download.
        revision: commit, tag or branch. None: the commit in the lock file. If the lock file does not have the dataset:
            the newest commit of `main`.
        say: function that receives lines for the user.
    """

    def __init__(
        self, root: Path, cache: Path, revision: str | None = None, say: Callable[[str], None] = print
    ) -> None:
        self.root, self.cache, self.revision, self.say = root, cache, revision, say
        self._commit = "unknown"  # commit of the last fetch; `revision` may be a branch

    def placed(self, entry: Entry) -> Path | None:
        """Return the vault folder or zip that the user placed by hand, or None."""
        base = self.root / "raw" / entry.source / entry.env
        for path in (base / f"{entry.scenario}.vlt", base / f"{entry.scenario}.zip"):
            if path.exists():
                return path
        return None

    def origin(self, entry: Entry, path: Path) -> dict[str, str]:
        """Return the origin of a zip or vault folder, as attributes for the converted file.

        Raises DataError if a zip does not have the SHA-256 of the catalogue.
        """
        if not path.is_dir():
            require_file(path, "no such zip; place it again")
        digest = {"zip_sha256": sha256_file(path)} if path.is_file() else {}
        if entry.zip_sha256 is not None and digest.get("zip_sha256", entry.zip_sha256) != entry.zip_sha256:
            raise DataError(
                f"{path}: SHA-256 {digest['zip_sha256'][:12]}, in the catalogue: {entry.zip_sha256[:12]}; "
                "fetch it again"
            )
        commit = "placed by hand" if path == self.placed(entry) else self._commit
        return {"hub_path": entry.hub_path, "hub_commit": commit, **digest}

    def fetch(self, entry: Entry) -> Path:
        """Return the verified local zip of an entry's scenario. Download it if necessary.

        Raises:
            MissingInput: if the hub must not be contacted and the zip is not in the cache. The line says where to place
                the zip. Also if the hub does not have the file.
            ServiceError: if the hub cannot be reached, or refuses the request.
            DataError: if two downloads differ from the pin, or the hub and the catalogue have different digests.
            StorageError: if there is not enough space.
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
            forget(path)
            self.say(f"{entry.hub_path}: {fault}; {'fetching again' if attempt == 1 else 'given up'}")
        raise DataError(f"{entry.hub_path}: the hub delivered {fault}, twice; try later, or place the file by hand")

    def must_ask(self, entry: Entry) -> bool:
        """Return whether `fetch` would need an answer of the hub."""
        held = self._lock().get(entry.hub_path)
        return held is None or self.revision not in (None, held.commit) or self._cached(entry, held) is None

    def ask(self, entry: Entry) -> None:
        """Ask the hub whether it has the file, and change nothing. Raises as `fetch`."""
        if offline():
            raise MissingInput(self.not_here(entry, "HF_HUB_OFFLINE is set"))
        self._ask(entry)

    def commit(self, entry: Entry) -> str:
        """Return the commit that `revision` names. Raises ConfigError if the hub must not be asked, else as `fetch`."""
        if re.fullmatch("[0-9a-f]{40}", str(self.revision)):
            return str(self.revision)
        if offline():
            raise ConfigError(f"revision={self.revision} names no commit, and HF_HUB_OFFLINE is set; give the commit")
        return self._ask(entry).commit

    # --- pins -------------------------------------------------------------------------------------------------------

    def _pinned(self, entry: Entry) -> Pin:
        """Return the pin of a file from the lock file.

        If it is not there, or for another revision, ask the hub. Only an answer for the present state, without a
        revision, is written into the lock file.
        """
        held = self._lock().get(entry.hub_path)
        if held is not None and self.revision in (None, held.commit):
            return held
        if offline():
            raise MissingInput(self.not_here(entry, "HF_HUB_OFFLINE is set"))
        pin = self._ask(entry)
        if held is None and self.revision is None:
            self.root.mkdir(parents=True, exist_ok=True)
            with one_at_a_time(self.root / ".hub.lock", LOCKFILE, self.say):  # others may pin other scenarios now
                pins = {name: asdict(known) for name, known in {**self._lock(), entry.hub_path: pin}.items()}
                write_atomic(self.root / LOCKFILE, json.dumps(pins, indent=1, sort_keys=True))
        return pin

    def _lock(self) -> dict[str, Pin]:
        path = self.root / LOCKFILE
        try:
            return {name: Pin(**pin) for name, pin in json.loads(path.read_text()).items()} if path.exists() else {}
        except (ValueError, TypeError, AttributeError) as error:
            raise DataError(
                f"{path}: damaged; delete it, and the next fetch makes a new one from the hub's present state"
            ) from error

    def _ask(self, entry: Entry) -> Pin:
        from huggingface_hub import HfApi

        def ask() -> Pin:
            api = HfApi()
            commit = api.repo_info(HUB, repo_type="dataset", revision=self.revision or "main").sha
            found = api.get_paths_info(HUB, entry.hub_path, repo_type="dataset", revision=commit)
            if not found or commit is None:
                raise MissingInput(f"{entry.hub_path}: {HUB} on the hub has no such file any more; see `data list`")
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
            raise MissingInput(self.not_here(entry, "HF_HUB_OFFLINE is set"))

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
        """Report how much will be downloaded and written. Raises StorageError if there is not enough space."""
        from huggingface_hub.constants import HF_HUB_CACHE

        raw = entry.uncompressed_bytes_estimate
        unpacked = int(pin.size * UNPACKED if raw is None else raw * (1 + PACKED))
        needs: dict[int, tuple[Path, float]] = {}  # device number -> a folder on it, bytes needed on it
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
                    "free space, or set HF_HOME and cache= (fit: data.cache=)"
                )

    def _answered(self, entry: Entry, call: Callable[[], Answer]) -> Answer:
        """Call the hub. Turn every error into a UserError with one line."""
        absent = f"{entry.hub_path}: not at revision {self.revision or 'main'} of {HUB}"
        return answered(call, HUB, lambda why: self.not_here(entry, why), absent)

    def not_here(self, entry: Entry, why: str) -> str:
        """Return the line that says that a file is not on this machine, why, and where to place it."""
        place = self.root / "raw" / entry.source / entry.env / f"{entry.scenario}.zip"
        return f"{entry.hub_path} of {HUB} is not here ({why}); place it as {place}"


def _agreed(entry: Entry, pin: Pin) -> Pin:
    """Return the pin with the SHA-256 of the catalogue. Raises DataError if the hub's SHA-256 is another one."""
    if entry.zip_sha256 is None:
        return pin
    if pin.sha256 not in (None, entry.zip_sha256):
        raise DataError(
            f"{entry.hub_path}: the hub has {str(pin.sha256)[:12]} at {pin.commit[:12]}, but the catalogue pins "
            f"{entry.zip_sha256[:12]}; set revision= to the commit of that file, or correct the catalogue"
        )
    return replace(pin, sha256=entry.zip_sha256)


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path
