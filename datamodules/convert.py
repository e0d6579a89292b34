"""A vault becomes our HDF5: streamed, verified by reading back, renamed at the end; a kill leaves nothing behind."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from datamodules.catalogue import Entry
from datamodules.episodes import Episodes, Flags, check_rewards, find_episodes
from datamodules.schema import (
    INCOMPLETE,
    SCHEMA_VERSION,
    TERMINAL,
    TIMEOUT,
    TRUNCATION,
    attributes_hash,
    hash_file,
    make_dataset,
)
from datamodules.vault import Vault
from vgm2p.envs.observation import recovery_error
from vgm2p.errors import DataError
from vgm2p.io.files import remove_stale, require_space, written_aside

RECOVERY = 1e-3  # largest difference between z-scored vectors and those rebuilt from the robot behind them


@dataclass
class Wide:
    """How one wide leaf is converted: the column that it fills, its type and shape per row, and the rule."""

    leaf: str
    column: str
    dtype: str
    shape: tuple[int, ...]
    rule: Callable[[NDArray[Any]], NDArray[Any]]


class Converter:
    """Converts one uid.

    Args:
        vault: what to convert.
        target: the file to write.
        entry: what the catalogue knows, or None for a vault of one's own.
        say: told notices and progress.
        origin: attributes that tell where the vault is from (commit, digests).
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
        self.digests: dict[str, str] = {}  # of the vault's leaves, every row
        self.written: dict[str, str] = {}  # of our columns
        self._acted: list[NDArray[Any]] = []
        self._padding: NDArray[np.bool_] | None = None
        self.facts: dict[str, Any] = {}
        if entry is not None:
            self._compare("agents", entry.n_agents, self.agents)
            self._compare("kind of actions", entry.discrete, self.discrete)
            self._compare("observation width", entry.obs_dim, vault.leaves["observations"].shape[-1])
        if self.discrete and "infos.legals" not in vault.leaves:
            raise DataError(f"{self.where}: discrete actions without infos.legals; such vaults are not supported")

    def run(self) -> str:
        """Convert, verify, rename; return the content hash.

        Raises:
            DataError: if the vault is damaged, contradicts the catalogue's shapes, or was written back differently.
        """
        flags = self._flags()
        episodes = find_episodes(
            flags,
            self.entry.episode_limit if self.entry else None,
            self.entry.layout if self.entry else "auto",
            self.where,
        )
        for notice in episodes.notices:
            self.say(f"{self.vault.folder.name}: {notice}")
        self.target.parent.mkdir(parents=True, exist_ok=True)
        row_bytes = sum(leaf.dtype.itemsize * int(np.prod(leaf.shape)) for leaf in self.vault.leaves.values())
        require_space(self.target.parent, row_bytes * self.vault.rows, "set data.cache")
        remove_stale(self.target.parent, self.target.name)
        with written_aside(self.target) as temporary:
            with h5py.File(temporary, "w", libver="latest") as file:
                self._narrow(file, flags, episodes)
                for wide in self._wide():
                    self._stream(file, wide, episodes)
            digest = self._verify(temporary)
            with h5py.File(temporary, "r+", libver="latest") as file:
                attributes = {**self._attributes(episodes), "schema_version": SCHEMA_VERSION, "content_sha256": digest}
                attributes["attributes_sha256"] = attributes_hash(attributes)
                for key, value in sorted(attributes.items()):
                    file.attrs[key] = value
                file.attrs["complete"] = 1
        return digest

    # --- first pass: flags and rewards ----------------------------------------------------------------------------

    def _flags(self) -> Flags:
        terminal = self._whole("terminals", lambda x: (x != 0).reshape(len(x), -1).all(1))
        truncation = self._whole("truncations", lambda x: (x != 0).reshape(len(x), -1).all(1))
        rewards = self._whole("rewards", lambda x: x.reshape(len(x), -1))
        if not np.isfinite(rewards).all():
            raise DataError(f"{self.where}: rewards hold NaN or infinity; fetch the vault again")
        reward, agent_reward = check_rewards(rewards)
        still = self._whole("actions", lambda x: (x == 0).reshape(len(x), -1).all(1))
        return Flags(terminal, truncation, reward, agent_reward, still & (rewards == 0).all(1))

    def _whole(self, leaf: str, rule: Callable[[NDArray[Any]], NDArray[Any]]) -> NDArray[Any]:
        return np.concatenate([rule(rows) for _, rows in self._hashed(leaf)])

    def _hashed(self, leaf: str) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield the slabs of a leaf; its digest over all rows is kept on the way."""
        digest = hashlib.sha256()
        for start, rows in self.vault.slabs(leaf):
            plain = np.ascontiguousarray(rows).astype(rows.dtype.newbyteorder("<"), copy=False)
            digest.update(plain.data.cast("B") if plain.size else b"")
            yield start, plain
        self.digests[leaf] = digest.hexdigest()

    def _narrow(self, file: h5py.File, flags: Flags, episodes: Episodes) -> None:
        keep, total = episodes.keep, int(episodes.keep.sum())
        terminal, timeout = np.zeros(total, np.uint8), np.zeros(total, np.uint8)
        terminal[episodes.last_rows((TERMINAL,))] = 1
        timeout[episodes.last_rows((TIMEOUT, TRUNCATION))] = 1
        reward = flags.reward[keep]
        steps: dict[str, NDArray[Any]] = {
            "rewards": reward, "terminal": terminal, "timeout": timeout, "has_action": np.ones(total, np.uint8),
            "t": (np.arange(total) - np.repeat(episodes.start, episodes.length)).astype(np.int32),
        }  # fmt: skip
        if flags.agent_reward is not None:
            steps["agent_rewards"] = flags.agent_reward[keep]
        table: dict[str, NDArray[Any]] = {
            "start": episodes.start, "rows": episodes.length, "length": episodes.length, "end": episodes.end,
            "return": np.add.reduceat(reward.astype(np.float64), episodes.start),
        }  # fmt: skip
        for group, columns in (("steps", steps), ("episodes", table)):
            for name, array in columns.items():
                make_dataset(file, f"{group}/{name}", len(array), array.shape[1:], array.dtype)[...] = array
        self.facts["longest"] = int(episodes.length.max())
        self._returns(table)

    def _returns(self, table: dict[str, NDArray[Any]]) -> None:
        """Compare complete episodes with the card; a difference is told, not refused: cards have errors too."""
        whole = table["end"] != INCOMPLETE
        returns = table["return"][whole]
        found = {"episodes": len(returns), "return_mean": float(returns.mean()), "return_std": float(returns.std()),
                 "return_min": float(returns.min()), "return_max": float(returns.max())}  # fmt: skip
        self.facts |= found
        found["vault_rows"] = self.vault.rows
        for line in self.entry.differences(found) if self.entry else ():
            self.say(f"{self.vault.folder.name}: {line}")

    # --- second pass: the wide leaves, one at a time ----------------------------------------------------------------

    def _wide(self) -> list[Wide]:
        leaves = self.vault.leaves
        observed, acted = leaves["observations"], leaves["actions"]
        width = acted.shape[1:] if not self.discrete else ()
        wides = [  # actions first: legal masks are compared with them
            Wide("actions", "actions", "<i2" if self.discrete else "<f4", (self.agents, *width), self._actions),
            Wide("observations", "observations", "<f4", observed.shape, self._observations),
        ]
        if self.discrete:
            wides.append(Wide("infos.legals", "legal_actions", "|u1", leaves["infos.legals"].shape, self._legals))
        if "infos.state" in leaves:
            wides.append(Wide("infos.state", "state", "<f4", leaves["infos.state"].shape, self._states))
        return wides

    def _stream(self, file: h5py.File, wide: Wide, episodes: Episodes) -> None:
        column = make_dataset(file, f"steps/{wide.column}", int(episodes.keep.sum()), wide.shape, np.dtype(wide.dtype))
        written, digest = 0, hashlib.sha256()
        for start, rows in self._hashed(wide.leaf):
            kept = wide.rule(rows[episodes.keep[start : start + len(rows)]])
            kept = np.ascontiguousarray(kept.astype(wide.dtype, copy=False))
            column[written : written + len(kept)] = kept
            digest.update(kept.data.cast("B") if kept.size else b"")
            written += len(kept)
        self.written[f"steps/{wide.column}"] = digest.hexdigest()
        self.say(f"{self.vault.folder.name}: {wide.column}, {written} rows")

    def _observations(self, rows: NDArray[Any]) -> NDArray[Any]:
        rows = _float32(rows)
        padded = np.isneginf(rows)
        if padded.any():  # agents with shorter vectors are padded so (omar/mpe); the same entries in every row
            self._padding = padded[0] if self._padding is None else self._padding
        if self._padding is not None:
            if (padded != self._padding).any():
                raise DataError(f"{self.where}: -inf stands in observations of some rows only; fetch the vault again")
            self.facts["obs_valid"] = (~self._padding).sum(-1).tolist()
            rows = np.where(padded, np.float32(0.0), rows)
        self._finite("observations", rows)
        if self._zscored:
            self._recover(rows)
        return rows

    def _recover(self, rows: NDArray[np.float32]) -> None:
        error = recovery_error(rows, self.agents)
        if not error <= RECOVERY:  # not a number fails, too
            raise DataError(f"{self.where}: observations are no z-scored vectors with one-hots; correct the catalogue")
        self.facts["recovery_error"] = max(error, self.facts.get("recovery_error", 0.0))

    def _actions(self, rows: NDArray[Any]) -> NDArray[Any]:
        if self.discrete:
            chosen = rows.reshape(len(rows), self.agents)
            self._acted.append(chosen.astype(np.int16))
            return chosen
        self._finite("actions", rows)
        largest = float(np.abs(rows).max(initial=0.0))
        self.facts["action_limit"] = max(largest, self.facts.get("action_limit", 1.0))
        return rows

    def _legals(self, rows: NDArray[Any]) -> NDArray[Any]:
        legal = (rows != 0).astype(np.uint8)
        stuck = ~legal.any(-1)
        if stuck.any():
            self.facts["rows_without_legal_action"] = int(stuck.sum()) + self.facts.get("rows_without_legal_action", 0)
            legal[..., 0] |= stuck
        if len(self._acted) > 1:
            self._acted = [np.concatenate(self._acted)]
        acted, self._acted = self._acted[0][: len(legal)], [self._acted[0][len(legal) :]]
        inside = (acted >= 0) & (acted < legal.shape[-1])
        played = np.take_along_axis(legal, np.where(inside, acted, 0)[..., None].astype(np.int64), -1)[..., 0]
        illegal = int((~inside | (played == 0)).sum())
        if illegal:
            raise DataError(f"{self.where}: {illegal} stored actions are not legal; fetch the vault again")
        return legal

    def _states(self, rows: NDArray[Any]) -> NDArray[Any]:
        self._finite("state", rows)
        return _float32(rows)

    def _finite(self, name: str, rows: NDArray[Any]) -> None:
        if not np.isfinite(rows).all():
            raise DataError(f"{self.where}: '{name}' holds NaN or infinity; fetch the vault again")

    # --- the end ----------------------------------------------------------------------------------------------------

    def _verify(self, path: Path) -> str:
        """Return the content hash of what can be read back. Raises DataError where that is not what was written."""
        digest, columns = hash_file(path)
        wrong = [name for name, wanted in self.written.items() if columns[name] != wanted]
        if wrong:
            raise DataError(f"{self.target}: '{wrong[0]}' reads back differently from what was written; check the disk")
        return digest

    @property
    def _zscored(self) -> bool:
        return self.entry is not None and self.entry.zscored

    def _attributes(self, episodes: Episodes) -> dict[str, Any]:
        entry, leaves = self.entry, self.vault.leaves
        width = leaves["infos.legals" if self.discrete else "actions"].shape[-1]
        return {
            "name": entry.id if entry else self.vault.folder.name,
            "source": entry.source if entry else "own",
            "n_agents": self.agents,
            "action_dim": width,
            "discrete": int(self.discrete),
            "episode_limit": entry.episode_limit if entry else self.facts.pop("longest"),
            "env_id": entry.env_id if entry else self.vault.folder.name,
            "env_kwargs": "{}",
            **self.origin,
            "layout": episodes.layout,
            "stored_view": "omiga" if self._zscored else "native",
            "vault_version": self.vault.version,
            "vault_sha256": json.dumps(self.digests, sort_keys=True),
            "n_episodes": len(episodes.length),
            "facts": json.dumps({key: value for key, value in self.facts.items() if key != "longest"}, sort_keys=True),
            "action_limit": self.facts.get("action_limit", 1.0),
        }

    def _compare(self, what: str, wanted: Any, found: Any) -> None:
        if wanted is not None and wanted != found:
            raise DataError(f"{self.where}: {what} is {found}, the catalogue says {wanted}; fetch the vault again")


def _float32(rows: NDArray[Any]) -> NDArray[Any]:
    return rows.astype(np.float32, copy=False)
