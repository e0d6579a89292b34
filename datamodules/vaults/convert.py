"""Convert a vault to our HDF5 layout.

The vault is read slab by slab. The new file gets its final name after it was read back and compared, so an interrupted
conversion leaves no incomplete file under that name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from vgm2p.datamodules.layout.consistency import check_episodes
from vgm2p.datamodules.layout.episodes import figures
from vgm2p.datamodules.layout.lanes import Lanes
from vgm2p.datamodules.layout.reading import hash_file, outline
from vgm2p.datamodules.layout.rules import check_layout
from vgm2p.datamodules.layout.schema import SCHEMA_VERSION, ContentHash, as_bytes, attributes_hash
from vgm2p.datamodules.layout.writing import make_dataset, new_hdf5, write_attributes
from vgm2p.datamodules.sources.catalogue import Entry
from vgm2p.datamodules.vaults.boundaries import Boundaries, Flags, find_boundaries, split_rewards
from vgm2p.datamodules.vaults.contents import contents_of
from vgm2p.datamodules.vaults.declared import Declared, declared_by
from vgm2p.datamodules.vaults.leaves import LeafRule, LeafRules
from vgm2p.datamodules.vaults.numbers import Judge
from vgm2p.datamodules.vaults.vault import FLAGS, Vault
from vgm2p.errors import DataError
from vgm2p.io.files import remove_stale, require_space, written_aside
from vgm2p.types import NO_ENVIRONMENT

MOST_ZEROS = 1  # so many last rows may hold zeros only


class Converter:
    """Converts one uid of a vault.

    Args:
        vault: the vault.
        target: path of the converted file.
        entry: entry of the catalogue, or None for the user's own vault.
        say: function that receives lines for the user.
        origin: attributes about the origin of the vault (commit, digests).
        declared: what the user declares about an own vault. For a published one, the entry declares it.

    Raises:
        DataError: if the vault contradicts the entry, or has shapes or types that our layout cannot hold.
    """

    def __init__(
        self,
        vault: Vault,
        target: Path,
        entry: Entry | None,
        say: Callable[[str], None] = lambda line: None,
        origin: Mapping[str, str] | None = None,
        declared: Declared | None = None,
    ) -> None:
        self.vault, self.target, self.entry, self.say = vault, target, entry, say
        self.origin = dict(origin or {})
        self.declared = declared_by(entry) if entry else declared or Declared()
        self.where = str(vault.folder)
        self.contents = contents_of(vault, self.declared, entry)
        self.judge = Judge(self.where, self.contents.agents, vault.repair)
        self.digests: dict[str, str] = {}  # leaf -> SHA-256 over all its rows
        self.facts: dict[str, Any] = {}
        self.notices: list[str] = []

    def run(self, verified: Callable[[], None] = lambda: None) -> str:
        """Convert the vault, verify the new file and rename it. Return its content hash.

        Args:
            verified: called before the file gets its name. If it fails, or the process is killed, there is no file.

        Raises:
            DataError: if the vault is damaged, contradicts the catalogue, or breaks a rule of the layout. Also if the
                new file reads back differently.
            StorageError: if there is not enough space.
        """
        self.target.parent.mkdir(parents=True, exist_ok=True)
        require_space(self.target.parent, self.vault.bytes, "set cache= or out= (fit: data.cache=)")
        flags = self._flags()
        boundaries = find_boundaries(flags, self.declared, self.where, self.entry is not None)
        self._check_written(flags)
        self._tell(*self.contents.notices, *boundaries.notices)
        self.facts["vault_rows"] = self.vault.rows
        self.facts["delimiter_rows"] = int((~boundaries.keep).sum())
        self.facts["partly_flagged_rows"] = len(flags.partly)
        remove_stale(self.target.parent, self.target.name)
        with written_aside(self.target) as temporary:
            with new_hdf5(temporary) as (file, check):
                digest = self._write(file, flags, boundaries, check)
                attributes = {
                    **self._attributes(boundaries),
                    "schema_version": SCHEMA_VERSION,
                    "content_sha256": digest,
                }
                attributes["attributes_sha256"] = attributes_hash(attributes)
                write_attributes(file, attributes)
            if hash_file(temporary) != digest:
                raise DataError(f"{self.target}: the file read back differs from the data written; check the disk")
            self._judge(temporary)
            verified()
        return digest

    def _tell(self, *notices: str) -> None:
        """Print notices and keep them for the file."""
        self.notices += notices
        for notice in notices:
            self.say(f"{self.vault.folder.name}: {notice}")

    def _judge(self, temporary: Path) -> None:
        """Raise DataError if the new file breaks a rule of the layout. The numbers were judged before."""
        narrow = outline(temporary, [name.column for name in self._rules().columns()])
        check_layout(self.vault.folder, narrow.steps, narrow.episodes, narrow.attributes)
        check_episodes(self.vault.folder, narrow.steps, narrow.episodes, narrow.attributes)

    # --- first pass: flags and rewards ----------------------------------------------------------------------------

    def _flags(self) -> Flags:
        flags = {name: self._whole(name, partial(self._flag, name)) for name in FLAGS if name in self.vault.leaves}
        ended = [flags.get(name, np.zeros((self.vault.rows, 1), bool)) for name in FLAGS]
        rewards = self._whole("rewards", self._reward)
        reward, agent_reward = split_rewards(rewards)
        acted = [(rows == 0).reshape(len(rows), -1).all(1) for _, rows in self.vault.slabs("actions")]
        return Flags(ended[0], ended[1], reward, agent_reward, np.concatenate(acted) & (rewards == 0).all(1))

    def _check_written(self, flags: Flags) -> None:
        """Raise DataError if the last rows hold zeros only. A vault reads rows as zeros that were never written."""
        flagged = np.concatenate([flags.ends, flags.partly])
        busy = np.flatnonzero(~flags.idle)
        last = max(flagged.max(initial=-1), busy.max(initial=-1))
        final = self.vault.rows - 1
        if final - last <= MOST_ZEROS:
            return
        for start, rows in self.vault.slabs("observations"):
            seen = np.flatnonzero(rows.reshape(len(rows), -1).any(1))
            last = max(last, start + seen.max(initial=-1 - start))
        if final - last > MOST_ZEROS:
            raise DataError(
                f"{self.where}: rows {last + 1} to {final} hold zeros only, so they were never written; "
                f"{self.vault.repair}"
            )

    def _flag(self, name: str, rows: NDArray[Any], numbers: NDArray[Any]) -> NDArray[np.bool_]:
        return self.judge.binary(rows.reshape(len(rows), -1), numbers, name)

    def _reward(self, rows: NDArray[Any], numbers: NDArray[Any]) -> NDArray[Any]:
        rows = rows.reshape(len(rows), -1)
        self.judge.float32(rows, numbers, "rewards")
        return rows

    def _whole(self, leaf: str, rule: Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]) -> NDArray[Any]:
        digest, found = hashlib.sha256(), []
        for start, rows in self._plain(leaf):
            digest.update(as_bytes(rows))
            found.append(rule(rows, np.arange(start, start + len(rows))))
        self.digests[leaf] = digest.hexdigest()
        return np.concatenate(found)

    def _plain(self, leaf: str) -> Iterator[tuple[int, NDArray[Any]]]:
        for start, rows in self.vault.slabs(leaf):
            yield start, np.ascontiguousarray(rows).astype(rows.dtype.newbyteorder("<"), copy=False)

    def _narrow(self, flags: Flags, boundaries: Boundaries) -> dict[str, NDArray[Any]]:
        """Return path in the file -> column for the narrow columns. Compare their returns with the card."""
        steps: dict[str, NDArray[Any]] = {"rewards": flags.reward[boundaries.keep]}
        if flags.agent_reward is not None:
            steps["agent_rewards"] = flags.agent_reward[boundaries.keep]
        columns = boundaries.episodes.columns(steps, {})
        self._returns(columns.episodes)
        return dict(columns.arrays())

    def _returns(self, table: dict[str, NDArray[Any]]) -> None:
        """Compare the complete episodes with the card. A difference is only reported, because cards have errors."""
        found = figures(table)
        self.facts |= found
        for line in self.entry.differences(self.facts) if self.entry else ():
            self.say(f"{self.vault.folder.name}: {line}")

    # --- second pass: every column in the order of the content hash -------------------------------------------------

    def _write(self, file: h5py.File, flags: Flags, boundaries: Boundaries, check: Callable[[], None]) -> str:
        """Write all columns. Return the content hash of the data in memory, with which the file must agree."""
        narrow, wides = self._narrow(flags, boundaries), self._rules(flags.idle_begins)
        wide = {f"steps/{each.column}": each for each in wides.columns()}
        content = ContentHash()
        groups = (
            sorted(name for name in (*narrow, *wide) if name.startswith("steps/")),
            sorted(name for name in narrow if name.startswith("episodes/")),
        )
        for name in (*groups[0], *groups[1]):
            if name in wide:
                self._stream(file, name, wide[name], boundaries.keep, content, check)
            else:
                array = narrow[name]
                make_dataset(file, name, len(array), array.shape[1:], array.dtype)[...] = array
                check()
                content.add(name, array, array)
        self.facts |= wides.facts(boundaries.episodes)
        self._tell(*wides.notices(boundaries.episodes))
        return content.hexdigest()

    def _stream(
        self,
        file: h5py.File,
        name: str,
        wide: LeafRule,
        keep: NDArray[np.bool_],
        content: ContentHash,
        check: Callable[[], None],
    ) -> None:
        """Convert one leaf. While a slab is hashed, checked and written, the next slab is unpacked."""
        column = make_dataset(file, name, int(keep.sum()), wide.shape, np.dtype(wide.dtype))
        written, digest = 0, hashlib.sha256()

        def write(first: int, rows: NDArray[Any]) -> None:
            column[first : first + len(rows)] = rows
            check()

        with Lanes() as lanes:
            for start, rows in self._plain(wide.leaf):
                chosen = keep[start : start + len(rows)]
                numbers = start + np.flatnonzero(chosen)
                if not len(numbers):
                    lanes.run(leaf=partial(digest.update, as_bytes(rows)))
                    continue
                kept = wide.rule(rows if len(numbers) == len(rows) else rows[chosen], numbers)
                kept = np.ascontiguousarray(kept.astype(wide.dtype, copy=False))
                lanes.run(
                    leaf=partial(digest.update, as_bytes(rows)),
                    content=partial(content.add, name, column, kept),
                    write=partial(write, written, kept),
                    judge=partial(wide.judge, kept),
                )
                written += len(kept)
        wide.at_end()
        self.digests[wide.leaf] = digest.hexdigest()
        self.say(f"{self.vault.folder.name}: {wide.column}, {written} rows")

    # --- the end ----------------------------------------------------------------------------------------------------

    @property
    def _zscored(self) -> bool:
        return self.entry is not None and self.entry.zscored

    def _rules(self, suspects: NDArray[np.int64] | None = None) -> LeafRules:
        return LeafRules(self.vault, self.contents, self.declared, self._zscored, suspects)

    def _attributes(self, boundaries: Boundaries) -> dict[str, Any]:
        entry, folder = self.entry, self.vault.folder
        name = entry.id if entry else f"{folder.parent.stem}/{folder.name}"
        return {
            "name": name,
            "source": entry.source if entry else "own",
            "n_agents": self.contents.agents,
            "action_dim": self.contents.width,
            "discrete": int(self.contents.discrete),
            "episode_limit": boundaries.limit,
            "env_id": self.declared.env_id or f"{NO_ENVIRONMENT}{name}",
            "env_kwargs": "{}",
            **self.origin,
            "layout": boundaries.layout,
            "stored_view": "omiga" if self._zscored else "native",
            "vault_version": self.vault.version,
            "vault_sha256": json.dumps(self.digests, sort_keys=True),
            "n_episodes": len(boundaries.episodes.length),
            "facts": json.dumps({**self.facts, "notices": self.notices}, sort_keys=True),
            "action_limit": self.facts.get("action_limit", 1.0),
        }
