"""Published datasets and vaults as sources. They are fetched, unpacked and converted once, under a lock."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from vgm2p.datamodules.layout.checks import intact
from vgm2p.datamodules.sources.catalogue import Entry, entry_of
from vgm2p.datamodules.sources.hub import Hub
from vgm2p.datamodules.vaults.convert import Converter
from vgm2p.datamodules.vaults.digests import verify_digests
from vgm2p.datamodules.vaults.unzip import unzip
from vgm2p.datamodules.vaults.vault import MARKERS, Vault, find_vaults
from vgm2p.errors import ConfigError, DataError, MissingInput
from vgm2p.io.files import sha256_file
from vgm2p.run.lock import one_at_a_time

Say = Callable[[str], None]


class Published:
    """Source for one entry of the catalogue. Raises ConfigError for an unknown id.

    Args:
        id: id of the entry, `<source>/<env>/<scenario>/<uid>`.
        root: folder of files that the user places by hand, and of the hub's lock file.
        cache: folder of converted files (`<cache>/<id>.h5`).
        revision: commit of the hub's repository. None: the commit that was pinned on first contact.
        catalogue: path of the user's own catalogue, or None.
        say: function that receives lines for the user. None: they are printed.
    """

    def __init__(
        self,
        id: str,
        root: str,
        cache: str,
        revision: str | None = None,
        catalogue: str | None = None,
        say: Say | None = None,
    ) -> None:
        self.entry = entry_of(id, catalogue)
        self.root, self.cache, self.say = Path(root), Path(cache), say or print
        self.hub = Hub(self.root, self.cache, revision, self.say)
        self.discrete = self.entry.discrete

    @property
    def target(self) -> Path:
        """The converted file."""
        return self.cache / f"{self.entry.id}.h5"

    @property
    def state(self) -> str:
        """What this machine has: `converted`, `placed` (a vault or zip that was placed by hand) or `-` (nothing)."""
        if self.target.is_file():
            return "converted"
        return "placed" if self.hub.placed(self.entry) else "-"

    def resolve(self) -> list[Path]:
        """Return the converted file. If it does not exist, fetch the dataset and convert it.

        Raises:
            ConfigError: if the file was made from another commit than `revision`.
            UserError: the errors of `Hub.fetch`, `unzip` and `convert`.
        """
        if not self.target.is_file():
            with scenario_lock(self.cache, self.entry, self.say):
                if not self.target.is_file():
                    self._make(self.target)
        if self.hub.revision is not None and re.fullmatch("[0-9a-f]{40}", self.hub.revision):  # a branch may move
            found = attribute(self.target, "hub_commit")
            if found != self.hub.revision:
                raise ConfigError(f"{self.target} was made from commit {found}; delete it, or drop revision=")
        return [self.target]

    def renew(self) -> Path:
        """Verify the converted file in full, make it again if it is damaged, and return it. Raises as `resolve`."""
        if self.target.is_file() and not intact(self.target, self.say):
            self.target.unlink()
        return self.resolve()[0]

    def convert_to(self, target: Path) -> Path:
        """Fetch the dataset and convert it into a new file outside the cache. Raises as `resolve` does."""
        with scenario_lock(self.cache, self.entry, self.say):
            self._make(target)
        return target

    def fetch(self) -> Path:
        """Return the verified zip or vault of the dataset. Fetch it if it is not there. Raises as `Hub.fetch` does."""
        with scenario_lock(self.cache, self.entry, self.say):
            return self._origin()[0]

    def _origin(self) -> tuple[Path, dict[str, str]]:
        path = self.hub.placed(self.entry) or self.hub.fetch(self.entry)
        return path, self.hub.origin(self.entry, path)

    def _make(self, target: Path) -> None:
        path, origin = self._origin()
        if path.is_dir():
            self._convert(_uid_folder(path, self.entry), target, origin)
            return
        scratch = target.parent / f".{self.entry.uid}.vault"
        shutil.rmtree(scratch, ignore_errors=True)  # left by a killed conversion
        try:
            self._convert(unzip(path, [self.entry.uid], scratch)[self.entry.uid], target, origin)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _convert(self, folder: Path, target: Path, origin: dict[str, str]) -> None:
        self.say(f"converting {self.entry.id}")
        convert(folder, target, self.entry, self.say, origin)


class VaultFolder:
    """Source for the user's own vault.

    Args:
        path: folder of one uid.
        cache: folder of converted files.
        say: function that receives lines for the user. None: they are printed.
    """

    def __init__(self, path: str, cache: str, say: Say | None = None) -> None:
        self.path, self.cache, self.say = Path(path), Path(cache), say or print

    @property
    def target(self) -> Path:
        """The converted file. Its name contains a digest of the vault's path and marker files."""
        parts = [str(self.path.resolve())] + [
            sha256_file(self.path / name) for name in MARKERS if (self.path / name).is_file()
        ]
        mark = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]
        return self.cache / "own" / f"{self.path.parent.stem}-{self.path.name}-{mark}.h5"

    def resolve(self) -> list[Path]:
        """Return the converted file. If it does not exist, convert the vault. Raises as `convert` does."""
        target = self.target
        if not target.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            with one_at_a_time(target.parent / f".{target.stem}.lock", target.name, self.say):
                if not target.is_file():
                    convert(self.path, target, None, self.say, {})
        return [target]

    def convert_to(self, target: Path) -> Path:
        """Convert the vault into a new file outside the cache. Raises as `convert` does."""
        convert(self.path, target, None, self.say, {})
        return target

    def renew(self) -> Path:
        """Verify the converted file in full, make it again if it is damaged, and return it. Raises as `resolve`."""
        if self.target.is_file() and not intact(self.target, self.say):
            self.target.unlink()
        return self.resolve()[0]


def convert(folder: Path, target: Path, entry: Entry | None, say: Say, origin: dict[str, str]) -> None:
    """Compare a vault with its stored digests, then convert it.

    Raises as `Vault`, `verify_digests` and `Converter.run` do.
    """
    vault = Vault(folder)
    store_digests = verify_digests(vault.folder, target.with_name(f"{target.stem}.vault.json"), say)
    Converter(vault, target, entry, say, origin).run()
    store_digests()


def attribute(path: Path, name: str) -> str:
    """Return an attribute of a converted file, or `unknown`. Raises DataError if the file cannot be opened."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            return str(file.attrs.get(name, "unknown"))
    except OSError as error:
        raise DataError(f"{path}: cannot be opened; run `vgm2p data convert` to make it again") from error


def _uid_folder(root: Path, entry: Entry) -> Path:
    found = find_vaults(root)
    if entry.uid not in found:
        raise MissingInput(f"{root}: holds no vault '{entry.uid}'; it has {', '.join(found) or 'none'}")
    return found[entry.uid]


@contextmanager
def scenario_lock(cache: Path, entry: Entry, say: Say) -> Iterator[None]:
    """Hold a lock, so that only one process at a time fetches and converts a scenario."""
    folder = cache / entry.source / entry.env
    folder.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(folder / f".{entry.scenario}.lock", entry.scenario, say):
        yield
