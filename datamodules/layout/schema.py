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
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from vgm2p.datamodules.layout.chunks import WORKERS, Column, workers
from vgm2p.datamodules.layout.lanes import Beside
from vgm2p.datamodules.layout.rules import validate
from vgm2p.datamodules.layout.verified import is_remembered, remember
from vgm2p.datamodules.layout.writing import make_dataset, new_hdf5, write_attributes
from vgm2p.errors import ConfigError, DataError, MissingInput, UserError
from vgm2p.io.files import remove_stale, written_aside

SCHEMA_VERSION = 1
TERMINAL, TIMEOUT, TRUNCATION, INCOMPLETE = range(4)  # values of /episodes/end
SLAB_BYTES = 1 << 24
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
    """Return the content hash of a dataset in memory (see `ContentHash`)."""
    digest = ContentHash()
    for name, array in columns.arrays():
        digest.add(name, array, array)
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
        with new_hdf5(temporary) as (file, check):
            for name, array in columns.arrays():
                make_dataset(file, name, len(array), array.shape[1:], array.dtype, compress)[...] = array
                check()
            write_attributes(file, attributes)
        return str(attributes["content_sha256"])


def stream(path: Path) -> Iterator[tuple[str, Column, NDArray[Any]]]:
    """Yield (path in the file, column, slab of rows) in the order of the content hash, in little memory.

    Checksums are not compared: whoever reads so compares a hash. Raises DataError if the file cannot be read.
    """
    with _reading(path):
        file = h5py.File(path, "r", locking=False)
    with file:
        for name in column_names(file):
            column = Column(file[name], check=False)
            slabs = column.slabs(SLAB_BYTES)
            while True:
                with _reading(path):
                    slab = next(slabs, None)
                if slab is None:
                    break
                yield name, column, slab


def column_names(file: h5py.File) -> list[str]:
    """Return the columns of an open file in the order of the content hash."""
    return [f"{group}/{name}" for group in ("steps", "episodes") for name in sorted(file[group])]


def hash_file(path: Path) -> str:
    """Return the content hash of a file, read slab by slab. Raises DataError if it cannot be read."""
    content = ContentHash()
    with Beside() as beside:
        for name, column, slab in stream(path):
            beside(content=partial(content.add, name, column, slab))
    return content.hexdigest()


class ContentHash:
    """SHA-256 over names, types, shapes and little-endian bytes: independent of chunks and compression.

    Columns come in the order of `column_names`, each in one piece or in slabs of rows.
    """

    def __init__(self) -> None:
        self._digest, self._name = hashlib.sha256(), ""

    def add(self, name: str, column: Column | NDArray[Any], rows: NDArray[Any]) -> None:
        """Add rows of a column."""
        if name != self._name:
            self._name = name
            self._digest.update(f"{name} {column.dtype.newbyteorder('<').str} {column.shape}".encode())
        self._digest.update(as_bytes(rows))

    def hexdigest(self) -> str:
        """Return the hash of all that was added."""
        return self._digest.hexdigest()


def as_bytes(array: NDArray[Any]) -> Any:
    """Return the little-endian bytes of an array in C order, without a copy where it lies so."""
    plain = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
    return plain.data.cast("B") if plain.size else b""


def read(path: Path, verify: str = "auto") -> Columns:
    """Read and validate a dataset.

    Args:
        path: the file.
        verify: `full` compares the content hash, `auto` does so unless this very file was verified before, `never`
            relies on the checksums of HDF5's chunks.

    Raises:
        MissingInput: if there is no such file.
        DataError: if the file is damaged, of another layout, or its content breaks the rules.
        ConfigError: on another `verify`.
    """
    hashed = must_hash(path, verify)
    with workers(1) as hasher:
        columns, digest = _load(path, hasher if hashed else None)
        try:
            validate(path, columns.steps, columns.episodes, columns.attributes)
        finally:  # damage explains whatever else is wrong
            if digest is not None and digest.result() != columns.attributes["content_sha256"]:
                raise damaged(path)
    if hashed:
        remember(path)
    return columns


def must_hash(path: Path, verify: str) -> bool:
    """Return whether `verify` asks for the content hash of this file. Raises as `read`."""
    if verify not in ("auto", "full", "never"):
        raise ConfigError(f"data.verify must be auto, full or never, got '{verify}'")
    if not path.is_file():
        raise MissingInput(f"{path}: no such dataset; check the path and data.root, or see `vgm2p data list`")
    return verify == "full" or (verify == "auto" and not is_remembered(path))


def damaged(path: Path) -> DataError:
    """Return the error of a file whose content is not what its hash says."""
    return DataError(f"{path}: content differs from its hash (damaged); fetch or convert it again")


def _load(path: Path, hasher: ThreadPoolExecutor | None) -> tuple[Columns, Future[str] | None]:
    """Return the columns, and their content hash to come: it is computed beside reading and what follows."""
    with _reading(path), h5py.File(path, "r", locking=False) as file, workers(WORKERS) as readers:
        attributes = _attributes(path, file)
        opened = {name: Column(file[name], check=hasher is None) for name in column_names(file)}
        loads = {name: column.load(readers) for name, column in opened.items()}
        digest = None if hasher is None else hasher.submit(_hash_loads, opened, loads)
        for _, tasks in loads.values():
            for task in tasks:
                task.result()
    tables = [
        {name.removeprefix(group): array for name, (array, _) in loads.items() if name.startswith(group)}
        for group in ("steps/", "episodes/")
    ]
    return Columns(tables[0], tables[1], attributes), digest


def _hash_loads(opened: dict[str, Column], loads: dict[str, tuple[NDArray[Any], list[Future[None]]]]) -> str:
    digest = ContentHash()
    for name, (array, tasks) in loads.items():
        for (start, stop), task in zip(opened[name].pieces(), tasks, strict=True):
            task.result()
            digest.add(name, array, array[start:stop])
    return digest.hexdigest()


def outline(path: Path, leave: Collection[str]) -> Columns:
    """Return a dataset without reading the step columns in `leave`: these are arrays without memory behind them.

    Raises as `read`; the columns that are read are not validated.
    """
    must_hash(path, "never")
    with _reading(path), h5py.File(path, "r", locking=False) as file:
        attributes = _attributes(path, file)
        steps = {
            name: np.broadcast_to(np.zeros((), dataset.dtype), dataset.shape) if name in leave else dataset[...]
            for name, dataset in file["steps"].items()
        }
        return Columns(steps, {name: dataset[...] for name, dataset in file["episodes"].items()}, attributes)


def _attributes(path: Path, file: h5py.File) -> dict[str, Any]:
    attributes = {key: _plain(value) for key, value in file.attrs.items()}
    _check_version(path, attributes)
    _check_attributes(path, attributes)
    return attributes


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn whatever h5py raises for a damaged file, a dozen kinds, into one line."""
    try:
        if path.stat().st_size == 0:
            raise DataError(f"{path}: empty file; fetch or convert it again")
        yield
    except UserError:
        raise
    except Exception as error:
        cause = " ".join(str(error).split())
        raise DataError(
            f"{path}: cannot be read ({cause[:90]}); damaged or not ours: fetch or convert it again"
        ) from error


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
