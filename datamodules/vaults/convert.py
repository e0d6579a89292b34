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

from vgm2p.datamodules.layout.episodes import figures
from vgm2p.datamodules.layout.lanes import Lanes
from vgm2p.datamodules.layout.reading import hash_file
from vgm2p.datamodules.layout.schema import SCHEMA_VERSION, ContentHash, as_bytes, attributes_hash
from vgm2p.datamodules.layout.writing import make_dataset, new_hdf5, write_attributes
from vgm2p.datamodules.sources.catalogue import Entry
from vgm2p.datamodules.vaults.boundaries import Boundaries, Flags, find_boundaries, split_rewards
from vgm2p.datamodules.vaults.leaves import LeafRule, LeafRules
from vgm2p.datamodules.vaults.vault import Vault
from vgm2p.errors import DataError
from vgm2p.io.files import remove_stale, require_space, written_aside


class Converter:
    """Converts one uid of a vault.

    Args:
        vault: the vault.
        target: path of the converted file.
        entry: entry of the catalogue, or None for the user's own vault.
        say: function that receives lines for the user.
        origin: attributes about the origin of the vault (commit, digests).

    Raises:
        DataError: if the vault contradicts the entry, or has discrete actions without legal actions.
    """

    def __init__(
        self,
        vault: Vault,
        target: Path,
        entry: Entry | None,
        say: Callable[[str], None] = lambda line: None,
        origin: Mapping[str, str] | None = None,
    ) -> None:
        self.vault, self.target, self.entry, self.say = vault, target, entry, say
        self.origin = dict(origin or {})
        self.where = str(vault.folder)
        leaf = vault.leaves["actions"]
        self.discrete = leaf.dtype.kind in "iu"
        self.agents = vault.leaves["observations"].shape[0]
        self.digests: dict[str, str] = {}  # leaf -> SHA-256 over all its rows
        self.facts: dict[str, Any] = {}
        if entry is not None:
            self._compare("agents", entry.n_agents, self.agents)
            self._compare("kind of actions", entry.discrete, self.discrete)
            self._compare("observation width", entry.obs_dim, vault.leaves["observations"].shape[-1])
        if self.discrete and "infos.legals" not in vault.leaves:
            raise DataError(f"{self.where}: discrete actions without infos.legals; such vaults are not supported")

    def run(self) -> str:
        """Convert the vault, verify the new file and rename it. Return its content hash.

        Raises:
            DataError: if the vault is damaged, contradicts the catalogue, or breaks a rule of the layout. Also if the
                new file reads back differently.
            StorageError: if there is not enough space.
        """
        flags = self._flags()
        boundaries = find_boundaries(
            flags,
            self.entry.episode_limit if self.entry else None,
            self.entry.layout if self.entry else "auto",
            self.where,
        )
        for notice in boundaries.notices:
            self.say(f"{self.vault.folder.name}: {notice}")
        self.target.parent.mkdir(parents=True, exist_ok=True)
        row_bytes = sum(leaf.dtype.itemsize * int(np.prod(leaf.shape)) for leaf in self.vault.leaves.values())
        require_space(self.target.parent, row_bytes * self.vault.rows, "set data.cache")
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
        return digest

    # --- first pass: flags and rewards ----------------------------------------------------------------------------

    def _flags(self) -> Flags:
        terminal = self._whole("terminals", lambda x: (x != 0).reshape(len(x), -1).all(1))
        truncation = self._whole("truncations", lambda x: (x != 0).reshape(len(x), -1).all(1))
        rewards = self._whole("rewards", lambda x: x.reshape(len(x), -1))
        if not np.isfinite(rewards).all():
            raise DataError(f"{self.where}: rewards hold NaN or infinity; fetch the vault again")
        reward, agent_reward = split_rewards(rewards)
        acted = [(rows == 0).reshape(len(rows), -1).all(1) for _, rows in self.vault.slabs("actions")]
        return Flags(terminal, truncation, reward, agent_reward, np.concatenate(acted) & (rewards == 0).all(1))

    def _whole(self, leaf: str, rule: Callable[[NDArray[Any]], NDArray[Any]]) -> NDArray[Any]:
        digest, found = hashlib.sha256(), []
        for _, rows in self._plain(leaf):
            digest.update(as_bytes(rows))
            found.append(rule(rows))
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
        self.facts["longest"] = int(columns.episodes["length"].max())
        self._returns(columns.episodes)
        return dict(columns.arrays())

    def _returns(self, table: dict[str, NDArray[Any]]) -> None:
        """Compare the complete episodes with the card. A difference is only reported, because cards have errors."""
        found = figures(table)
        self.facts |= found
        found["vault_rows"] = self.vault.rows
        for line in self.entry.differences(found) if self.entry else ():
            self.say(f"{self.vault.folder.name}: {line}")

    # --- second pass: every column in the order of the content hash -------------------------------------------------

    def _write(self, file: h5py.File, flags: Flags, boundaries: Boundaries, check: Callable[[], None]) -> str:
        """Write all columns. Return the content hash of the data in memory, with which the file must agree."""
        narrow, wides = self._narrow(flags, boundaries), LeafRules(self.vault, self.discrete, self._zscored)
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
        for notice in wides.notices(boundaries.episodes):
            self.say(f"{self.vault.folder.name}: {notice}")
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
                kept = wide.rule(rows if chosen.all() else rows[chosen])
                kept = np.ascontiguousarray(kept.astype(wide.dtype, copy=False))
                lanes.run(
                    leaf=partial(digest.update, as_bytes(rows)),
                    content=partial(content.add, name, column, kept),
                    write=partial(write, written, kept),
                    judge=partial(wide.judge, kept),
                )
                written += len(kept)
        self.digests[wide.leaf] = digest.hexdigest()
        self.say(f"{self.vault.folder.name}: {wide.column}, {written} rows")

    # --- the end ----------------------------------------------------------------------------------------------------

    @property
    def _zscored(self) -> bool:
        return self.entry is not None and self.entry.zscored

    def _attributes(self, boundaries: Boundaries) -> dict[str, Any]:
        entry, leaves = self.entry, self.vault.leaves
        width = leaves["infos.legals" if self.discrete else "actions"].shape[-1]
        return {
            "name": entry.id if entry else f"{self.vault.folder.parent.stem}/{self.vault.folder.name}",
            "source": entry.source if entry else "own",
            "n_agents": self.agents,
            "action_dim": width,
            "discrete": int(self.discrete),
            "episode_limit": entry.episode_limit if entry else self.facts.pop("longest"),
            "env_id": entry.env_id if entry else self.vault.folder.name,
            "env_kwargs": "{}",
            **self.origin,
            "layout": boundaries.layout,
            "stored_view": "omiga" if self._zscored else "native",
            "vault_version": self.vault.version,
            "vault_sha256": json.dumps(self.digests, sort_keys=True),
            "n_episodes": len(boundaries.episodes.length),
            "facts": json.dumps({key: value for key, value in self.facts.items() if key != "longest"}, sort_keys=True),
            "action_limit": self.facts.get("action_limit", 1.0),
        }

    def _compare(self, what: str, wanted: Any, found: Any) -> None:
        if wanted is not None and wanted != found:
            raise DataError(f"{self.where}: {what} is {found}, but the catalogue says {wanted}; fetch the vault again")
