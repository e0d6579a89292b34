"""Our HDF5 layout: flat steps and an episode table, checksummed so that no damage goes unnoticed.

    /steps/*      one row per observation: robot_observation (R, D) or observations (R, N, O), actions (R, N, A) float32
                  or (R, N) int16, rewards (R,), terminal, timeout, has_action (R,) uint8, t (R,) int32
    /episodes/*   start, rows, length, return, end, and seed, behaviour where known
    attributes    what `Attributes` lists, `content_sha256` over the arrays, `attributes_sha256` over the attributes

A final observation is a row of its own with has_action = 0. Every dataset carries fletcher32; HDF5 alone finds 3 of 200
flipped bits in an unfiltered file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from datamodules.verified import is_remembered, remember
from vgm2p.envs.observation import VIEWS
from vgm2p.errors import ConfigError, DataError, MissingInput, UserError
from vgm2p.io.files import remove_stale, written_aside
from vgm2p.types import Spec

SCHEMA_VERSION = 1
TERMINAL, TIMEOUT, TRUNCATION, INCOMPLETE = range(4)  # values of /episodes/end
CHUNK_BYTES = 1 << 21
SLAB_BYTES = 1 << 26
STEP_TYPES = {
    "rewards": "<f4", "terminal": "|u1", "timeout": "|u1", "has_action": "|u1", "t": "<i4",
}  # fmt: skip
EPISODE_TYPES = {"start": "<i8", "rows": "<i4", "length": "<i4", "return": "<f8", "end": "|u1"}
REQUIRED = ("n_agents", "action_dim", "discrete", "episode_limit", "env_id", "env_kwargs", "name", "schema_version")
UNHASHED = ("attributes_sha256", "complete")


@dataclass
class Columns:
    """A dataset in memory, as the file holds it.

    Attributes:
        steps: name -> array with R rows.
        episodes: name -> array with E rows.
        attributes: plain values (text, numbers, booleans).
    """

    steps: dict[str, NDArray[Any]]
    episodes: dict[str, NDArray[Any]]
    attributes: dict[str, Any] = field(default_factory=dict)

    def arrays(self) -> list[tuple[str, NDArray[Any]]]:
        """Return (path in the file, array), steps before episodes, names sorted."""
        return [
            (f"{group}/{name}", table[name])
            for group, table in (("steps", self.steps), ("episodes", self.episodes))
            for name in sorted(table)
        ]


def content_hash(columns: Columns) -> str:
    """Return the SHA-256 over names, types, shapes and little-endian bytes: independent of chunks and compression."""
    digest = hashlib.sha256()
    for name, array in columns.arrays():
        plain = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{name} {plain.dtype.str} {plain.shape}".encode())
        digest.update(plain.data.cast("B") if plain.size else b"")
    return digest.hexdigest()


def attributes_hash(attributes: Mapping[str, Any]) -> str:
    """Return the SHA-256 over all attributes but the hash itself."""
    kept = {key: value for key, value in attributes.items() if key not in UNHASHED}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def write(path: Path, columns: Columns, compress: bool = False) -> str:
    """Write a dataset aside and rename it; return its content hash. The file is a function of its content alone."""
    attributes = {**columns.attributes, "schema_version": SCHEMA_VERSION, "content_sha256": content_hash(columns)}
    attributes["attributes_sha256"] = attributes_hash(attributes)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_stale(path.parent, path.name)
    with written_aside(path) as temporary:
        with h5py.File(temporary, "w", libver="latest", track_order=False) as file:
            for name, array in columns.arrays():
                make_dataset(file, name, len(array), array.shape[1:], array.dtype, compress)[...] = array
            for key, value in sorted(attributes.items()):
                file.attrs[key] = value
            file.attrs["complete"] = 1
        return str(attributes["content_sha256"])


def make_dataset(
    file: h5py.File, name: str, rows: int, shape: tuple[int, ...], dtype: np.dtype[Any], compress: bool = False
) -> h5py.Dataset:
    """Create a checksummed dataset (rows, *shape) in chunks of about 2 MiB."""
    row_bytes = max(1, dtype.itemsize * int(np.prod(shape)))
    chunk = max(1, min(rows, CHUNK_BYTES // row_bytes))
    options = {"compression": "gzip", "compression_opts": 9, "shuffle": True} if compress else {}
    return file.create_dataset(
        name, (rows, *shape), dtype, chunks=(chunk, *shape), fletcher32=True, track_times=False, **options
    )


def hash_file(file: h5py.File) -> tuple[str, dict[str, str]]:
    """Return `content_hash` of an open file, and the SHA-256 of every column's bytes, reading slab by slab."""
    whole, columns = hashlib.sha256(), {}
    names = [f"{group}/{name}" for group in ("steps", "episodes") for name in sorted(file[group])]
    for name in names:
        dataset, digest = file[name], hashlib.sha256()
        whole.update(f"{name} {dataset.dtype.newbyteorder('<').str} {dataset.shape}".encode())
        rows = max(1, SLAB_BYTES // max(1, dataset.dtype.itemsize * int(np.prod(dataset.shape[1:]))))
        for start in range(0, len(dataset), rows):
            slab = np.ascontiguousarray(dataset[start : start + rows])
            data = slab.astype(slab.dtype.newbyteorder("<"), copy=False).data.cast("B")
            whole.update(data)
            digest.update(data)
        columns[name] = digest.hexdigest()
    return whole.hexdigest(), columns


def read(path: Path, verify: str = "auto") -> Columns:
    """Read and validate a dataset.

    Args:
        path: the file.
        verify: `full` compares the content hash, `auto` does so unless this very file was verified before, `never`
            relies on HDF5's checksums.

    Raises:
        MissingInput: if there is no such file.
        DataError: if the file is damaged, of another layout, or its content breaks the rules.
        ConfigError: on another `verify`.
    """
    if verify not in ("auto", "full", "never"):
        raise ConfigError(f"data.verify must be auto, full or never, got '{verify}'")
    if not path.is_file():
        raise MissingInput(f"{path}: no such dataset; check data.root, or list datasets with `vgm2p data show`")
    columns = _read_columns(path)
    _check_attributes(path, columns.attributes)
    if verify == "full" or (verify == "auto" and not is_remembered(path)):
        if content_hash(columns) != columns.attributes["content_sha256"]:
            raise DataError(f"{path}: content differs from its hash (damaged); fetch or convert it again")
        remember(path)
    validate(path, columns)
    return columns


def _read_columns(path: Path) -> Columns:
    if path.stat().st_size == 0:
        raise DataError(f"{path}: empty file; fetch or convert it again")
    try:
        with h5py.File(path, "r", locking=False) as file:
            attributes = {key: _plain(value) for key, value in file.attrs.items()}
            _check_version(path, attributes)
            tables = [{name: dataset[...] for name, dataset in file[group].items()} for group in ("steps", "episodes")]
    except UserError:
        raise
    except Exception as error:  # h5py raises a dozen kinds for damaged files; all mean the same to the user
        cause = " ".join(str(error).split())
        raise DataError(
            f"{path}: cannot be read ({cause[:90]}); damaged or not ours: fetch or convert it again"
        ) from error
    return Columns(tables[0], tables[1], attributes)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    return value.item() if isinstance(value, np.generic) else value


def _check_version(path: Path, attributes: Mapping[str, Any]) -> None:
    if "schema_version" not in attributes:
        raise DataError(f"{path}: HDF5, but not in our layout; convert it first (recordings: data=recorded_*)")
    if attributes["schema_version"] != SCHEMA_VERSION:
        found = attributes["schema_version"]
        raise DataError(
            f"{path}: layout version {found}, this program reads {SCHEMA_VERSION}; update vgm2p or convert again"
        )
    if attributes.get("complete") != 1:
        raise DataError(f"{path}: incomplete (its conversion was cut off); delete it and convert again")


def _check_attributes(path: Path, attributes: Mapping[str, Any]) -> None:
    missing = [key for key in (*REQUIRED, "content_sha256", "attributes_sha256") if key not in attributes]
    if missing:
        raise DataError(f"{path}: attribute '{missing[0]}' is missing; convert it again")
    if attributes_hash(attributes) != attributes["attributes_sha256"]:
        raise DataError(f"{path}: attributes differ from their hash (damaged); fetch or convert it again")


def validate(path: Path, columns: Columns) -> None:
    """Check columns, types, lengths, ranges and episode boundaries. Raises DataError naming the first defect."""
    steps, episodes, attributes = columns.steps, columns.episodes, columns.attributes
    observed = [name for name in ("robot_observation", "observations") if name in steps]
    for table, names in ((steps, [*STEP_TYPES, "actions"]), (episodes, list(EPISODE_TYPES))):
        absent = [name for name in names if name not in table]
        if absent or not observed:
            raise DataError(f"{path}: column '{(absent or ['observations'])[0]}' is missing; convert it again")
    types = {**STEP_TYPES, "actions": "<i2" if attributes["discrete"] else "<f4", observed[0]: "<f4"}
    for table, wanted in ((steps, types), (episodes, EPISODE_TYPES)):
        for name, dtype in wanted.items():
            if table[name].dtype != np.dtype(dtype):
                raise DataError(f"{path}: column '{name}' has type {table[name].dtype}, not {dtype}; convert it again")
        lengths = {name: len(array) for name, array in table.items()}
        if len(set(lengths.values())) > 1 or 0 in lengths.values():
            raise DataError(f"{path}: columns of unequal or no length {lengths}; convert it again")
    _check_shapes(path, columns, observed[0])
    _check_numbers(path, columns, observed[0])
    _check_episodes(path, columns)


def _check_shapes(path: Path, columns: Columns, observed: str) -> None:
    agents, actions = columns.attributes["n_agents"], columns.steps["actions"]
    discrete, width = columns.attributes["discrete"], columns.attributes["action_dim"]
    wanted = (agents,) if discrete else (agents, width)
    if actions.shape[1:] != wanted:
        raise DataError(
            f"{path}: actions have shape {actions.shape[1:]} per row, attributes say {wanted}; convert it again"
        )
    if discrete and columns.steps.get("legal_actions", actions).shape[1:] != (agents, width):
        raise DataError(f"{path}: legal_actions are missing or not ({agents}, {width}) per row; convert it again")
    if columns.steps[observed].ndim != (2 if observed == "robot_observation" else 3):
        raise DataError(f"{path}: '{observed}' has {columns.steps[observed].ndim} axes; convert it again")


def _check_numbers(path: Path, columns: Columns, observed: str) -> None:
    acting = columns.steps["has_action"].astype(bool)
    for name in (observed, "rewards", "actions"):
        values = columns.steps[name]
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            row = int(np.argwhere(~np.isfinite(values))[0][0])
            raise DataError(f"{path}: '{name}' holds NaN or infinity, first in row {row}; repair or drop that episode")
    actions = columns.steps["actions"][acting]
    if columns.attributes["discrete"]:
        legal = np.take_along_axis(columns.steps["legal_actions"][acting], actions[..., None].astype(np.int64), -1)
        if not legal.all():
            raise DataError(f"{path}: {int((legal == 0).sum())} stored actions are not legal; convert it again")
    elif np.abs(actions).max(initial=0.0) > columns.attributes.get("action_limit", 1.0) + 1e-6:
        raise DataError(f"{path}: actions reach {np.abs(actions).max():.3f}, outside [-1, 1]; rescale them")


def _check_episodes(path: Path, columns: Columns) -> None:
    start, rows, length = (columns.episodes[name].astype(np.int64) for name in ("start", "rows", "length"))
    total = len(columns.steps["t"])
    ends = start + rows
    if start[0] != 0 or ends[-1] != total or (ends[:-1] != start[1:]).any() or (rows < 1).any():
        raise DataError(f"{path}: episode boundaries do not cover the rows one after another; convert it again")
    acting = np.add.reduceat(columns.steps["has_action"].astype(np.int64), start)
    if (acting != length).any() or ((rows - length) > 1).any():
        raise DataError(f"{path}: episode lengths do not agree with has_action; convert it again")
    counted = np.arange(total) - np.repeat(start, rows)
    if (counted != columns.steps["t"]).any():
        raise DataError(f"{path}: step numbers do not restart at episode boundaries; convert it again")
    last = start + length - 1
    flags = columns.steps["terminal"] + columns.steps["timeout"]
    if flags.sum() != flags[last[length > 0]].sum():
        raise DataError(f"{path}: an end flag stands inside an episode; convert it again")


def spec_of(columns: Columns, view: str) -> Spec:
    """Return the task that a dataset was recorded in, seen in `view`. Raises ConfigError if it has no such view."""
    attributes = columns.attributes
    agents = int(attributes["n_agents"])
    if "robot_observation" in columns.steps:
        width = columns.steps["robot_observation"].shape[1]
        if view not in VIEWS:
            raise ConfigError(
                f"data.view={view}: {attributes['name']} stores robot observations; use {' or '.join(VIEWS)}"
            )
        obs_dim, state_dim = width + agents, width
    elif attributes.get("stored_view") == "omiga":
        if view not in VIEWS:
            raise ConfigError(
                f"data.view={view}: {attributes['name']} stores omiga's vectors; use {' or '.join(VIEWS)}"
            )
        obs_dim = columns.steps["observations"].shape[2]
        state_dim = obs_dim - agents  # the robot's observation, recovered from the vectors
    else:
        if view != "native":
            raise ConfigError(f"data.view={view}: {attributes['name']} stores the agents' own vectors; use native")
        obs_dim = columns.steps["observations"].shape[2]
        state_dim = columns.steps["state"].shape[-1] if "state" in columns.steps else None
    return Spec(
        n_agents=agents,
        obs_dim=obs_dim,
        action_dim=int(attributes["action_dim"]),
        discrete=bool(attributes["discrete"]),
        state_dim=state_dim,
        episode_limit=int(attributes["episode_limit"]),
        view=view,
        env_id=str(attributes["env_id"]),
        env_kwargs=json.loads(attributes["env_kwargs"]),
    )
