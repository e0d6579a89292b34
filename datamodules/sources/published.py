"""Published datasets and vaults as sources. They are fetched, unpacked and converted once, under a lock."""

from __future__ import annotations

import glob
import hashlib
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from vgm2p.datamodules.layout.checks import discard_damaged
from vgm2p.datamodules.sources.catalogue import Entry, entry_of
from vgm2p.datamodules.sources.hub import Hub
from vgm2p.datamodules.vaults.convert import Converter
from vgm2p.datamodules.vaults.declared import Declared
from vgm2p.datamodules.vaults.digests import verify_digests
from vgm2p.datamodules.vaults.unzip import unzip
from vgm2p.datamodules.vaults.vault import MARKERS, Vault, find_vaults
from vgm2p.errors import ConfigError, DataError, MissingInput
from vgm2p.io.files import is_old, remove_stale, sha256_file
from vgm2p.run.lock import one_at_a_time

Say = Callable[[str], None]
RULES = 2  # version of the rules of conversion; a file in the cache that was made by other rules is not used


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

    def must_ask(self) -> bool:
        """Return whether `resolve` would need an answer of the hub."""
        return self.state == "-" and self.hub.must_ask(self.entry)

    def not_here(self, why: str) -> str:
        """Return the line that says that the dataset is not on this machine, why, and where to place it."""
        return self.hub.not_here(self.entry, why)

    def resolve(self) -> list[Path]:
        """Return the converted file. If it does not exist, fetch the dataset and convert it.

        Raises:
            ConfigError: if the file was made from another commit than `revision`, or would be made from a zip or vault
                that was placed by hand.
            UserError: the errors of `Hub.fetch`, `unzip` and `convert`.
        """
        if not self._usable():
            with scenario_lock(self.cache, self.entry, self.say) as locked:
                if not self._usable():
                    self._make(self.target, locked)
        if self.hub.revision is not None:
            found = attribute(self.target, "hub_commit")
            if found != self.hub.commit(self.entry):
                raise ConfigError(f"{self.target} was made from commit {found}; delete it, or drop revision=")
        return [self.target]

    def _usable(self) -> bool:
        """Return whether the converted file exists and was made by the present rules."""
        return self.target.is_file() and attribute(self.target, "conversion_rules") == str(RULES)

    def renew(self) -> Path:
        """Verify the converted file in full, make it again if it is damaged, and return it. Raises as `resolve`."""
        discard_damaged(self.target, self.say)
        return self.resolve()[0]

    def convert_to(self, target: Path) -> Path:
        """Fetch the dataset and convert it into a new file outside the cache. Raises as `resolve` does."""
        with scenario_lock(self.cache, self.entry, self.say) as locked:
            self._make(target, locked)
        return target

    def fetch(self) -> Path:
        """Return the verified zip or vault of the dataset. Fetch it if it is not there. Raises as `resolve`."""
        with scenario_lock(self.cache, self.entry, self.say):
            return self._origin()[0]

    def _origin(self) -> tuple[Path, dict[str, str]]:
        placed = self.hub.placed(self.entry)
        if placed is not None and self.hub.revision is not None:
            raise ConfigError(
                f"{placed}: placed by hand, so its revision is not known; move it away, or drop revision= "
                "(fit: data.source.revision=)"
            )
        path = placed or self.hub.fetch(self.entry)
        return path, self.hub.origin(self.entry, path)

    def _make(self, target: Path, locked: bool) -> None:
        path, origin = self._origin()
        if path.is_dir():
            self._convert(_uid_folder(path, self.entry), target, origin)
            return
        for left in target.parent.glob(f".{glob.escape(target.stem)}.*.vault"):  # by killed conversions
            if locked or is_old(left):
                shutil.rmtree(left, ignore_errors=True)
        scratch = target.with_name(f".{target.stem}.{secrets.token_hex(4)}.vault")
        try:
            self._convert(unzip(path, [self.entry.uid], scratch)[self.entry.uid], target, origin)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _convert(self, folder: Path, target: Path, origin: dict[str, str]) -> None:
        self.say(f"converting {self.entry.id}")
        origin |= {"conversion_rules": str(RULES)}
        convert(Converter(Vault(folder, published=True), target, self.entry, self.say, origin))


class VaultFolder:
    """Source for the user's own vault. What nobody declares about it is inferred (`vaults.declared`), and printed.

    Args:
        path: folder of one uid.
        cache: folder of converted files.
        say: function that receives lines for the user. None: they are printed.
        layout: `native`, `delimiter_row` or `auto`. None: native.
        episode_limit: number of steps after which the task ends an episode. None: the longest episode.
        env_id: the task, as an environment of ours names it. None: no environment.
        discrete: whether actions are indices. None: integers are, and floats beside legal actions.
        action_scale: stored actions are divided by this number. None: they are taken as stored.
        clip: whether any share of the actions may lie outside [-1, 1].

    Raises:
        ConfigError: for a value that `Declared` refuses.
    """

    def __init__(
        self,
        path: str,
        cache: str,
        say: Say | None = None,
        layout: str | None = None,
        episode_limit: int | None = None,
        env_id: str | None = None,
        discrete: bool | None = None,
        action_scale: float | None = None,
        clip: bool = False,
    ) -> None:
        self.path, self.cache, self.say = Path(path), Path(cache), say or print
        self.declared = Declared(layout or "native", episode_limit, env_id, discrete, action_scale, clip)
        self.discrete = discrete

    @property
    def target(self) -> Path:
        """The converted file. Its name contains digests of the vault, of our rules, and of what is declared."""
        return self.cache / "own" / f"{self._name}-{_short(self.declared.words)}.h5"

    @property
    def conversions(self) -> list[Path]:
        """The converted files of this vault that exist, whatever was declared."""
        return sorted((self.cache / "own").glob(f"{glob.escape(self._name)}-*.h5"))

    @property
    def _name(self) -> str:
        parts = [str(RULES), str(self.path.resolve())] + [
            sha256_file(self.path / name) for name in MARKERS if (self.path / name).is_file()
        ]
        return f"{self.path.resolve().parent.stem}-{self.path.resolve().name}-{_short(chr(10).join(parts))}"

    def resolve(self) -> list[Path]:
        """Return the converted file. If it does not exist, convert the vault.

        Raises as `Vault`, `Converter` and `verify_digests` do.
        """
        target = self.target
        if not target.is_file():
            converter = self._converter(target)  # refuses what our layout cannot hold, before anything is written
            target.parent.mkdir(parents=True, exist_ok=True)
            with one_at_a_time(target.parent / f".{target.stem}.lock", target.name, self.say):
                if not target.is_file():
                    convert(converter)
        return [target]

    def convert_to(self, target: Path) -> Path:
        """Convert the vault into a new file outside the cache. Raises as `resolve` does."""
        convert(self._converter(target))
        return target

    def renew(self) -> Path:
        """Verify the converted file in full, make it again if it is damaged, and return it. Raises as `resolve`."""
        discard_damaged(self.target, self.say)
        return self.resolve()[0]

    def _converter(self, target: Path) -> Converter:
        return Converter(Vault(self.path), target, None, self.say, {}, self.declared)


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def convert(converter: Converter) -> None:
    """Compare a vault with its stored digests, then convert it. Raises as `verify_digests` and `Converter.run` do."""
    vault = converter.vault
    beside = converter.target.with_name(f"{converter.target.stem}.vault.json")
    remove_stale(beside.parent, beside.name)
    converter.run(verify_digests(vault.folder, beside, converter.say, vault.again))


def attribute(path: Path, name: str) -> str:
    """Return an attribute of a converted file, or `unknown`. Raises DataError if the file cannot be opened."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            value = file.attrs.get(name, "unknown")
            return value.decode() if isinstance(value, bytes) else str(value)
    except OSError as error:
        raise DataError(f"{path}: cannot be opened; run `vgm2p data convert` to make it again") from error


def _uid_folder(root: Path, entry: Entry) -> Path:
    found = find_vaults(root)
    if entry.uid not in found:
        raise MissingInput(f"{root}: holds no vault '{entry.uid}'; it has {', '.join(found) or 'none'}")
    return found[entry.uid]


@contextmanager
def scenario_lock(cache: Path, entry: Entry, say: Say) -> Iterator[bool]:
    """Hold a lock, so that only one process at a time fetches and converts a scenario. Yields as `one_at_a_time`."""
    folder = cache / entry.source / entry.env
    folder.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(folder / f".{entry.scenario}.lock", entry.scenario, say) as locked:
        yield locked
