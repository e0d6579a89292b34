"""Read datasets in our layout: whole and validated, without their wide columns, or slab by slab."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from vgm2p.datamodules.layout.chunks import WORKERS, Column, workers
from vgm2p.datamodules.layout.lanes import Lanes
from vgm2p.datamodules.layout.rules import validate
from vgm2p.datamodules.layout.schema import SCHEMA_VERSION, Columns, ContentHash, attributes_hash, column_names
from vgm2p.datamodules.layout.verified import is_remembered, remember
from vgm2p.errors import ConfigError, DataError, MissingInput, UserError

SLAB_BYTES = 1 << 24
REQUIRED = ("n_agents", "action_dim", "discrete", "episode_limit", "env_id", "env_kwargs", "name", "schema_version")


def read(path: Path, verify: str = "auto") -> Columns:
    """Read and validate a dataset.

    Args:
        path: the file.
        verify: `full` compares the content hash. `auto` compares it unless this exact file was verified before.
            `never` relies on the checksums of HDF5's chunks.

    Raises:
        MissingInput: if the file does not exist.
        DataError: if the file is damaged, has another layout, or breaks a rule of the layout.
        ConfigError: if `verify` has another value.
    """
    hashed = must_hash(path, verify)
    with workers(1) as hasher:
        columns, digest = _load(path, hasher if hashed else None)
        try:
            validate(path, columns.steps, columns.episodes, columns.attributes)
        finally:  # damage may be the cause of a broken rule, so it is reported instead
            if digest is not None and digest.result() != columns.attributes["content_sha256"]:
                raise damaged(path)
    if hashed:
        remember(path)
    return columns


def must_hash(path: Path, verify: str) -> bool:
    """Return whether `verify` requires the content hash of this file. Raises MissingInput and ConfigError as `read`."""
    if verify not in ("auto", "full", "never"):
        raise ConfigError(f"data.verify must be auto, full or never, got '{verify}'")
    if not path.is_file():
        raise MissingInput(f"{path}: no such dataset; check the path and data.root, or see `vgm2p data list`")
    return verify == "full" or (verify == "auto" and not is_remembered(path))


def damaged(path: Path) -> DataError:
    """Return the error for a file whose content differs from its hash."""
    return DataError(f"{path}: the content differs from its hash, so the file is damaged; fetch or convert it again")


def _load(path: Path, hasher: ThreadPoolExecutor | None) -> tuple[Columns, Future[str] | None]:
    """Return the columns, and a future for their content hash, which a thread computes."""
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
    """Return a dataset without reading the step columns in `leave`.

    The arrays of these columns have the right type and shape, contain zeros and take no memory. The other columns are
    not validated. Raises as `read` does.
    """
    must_hash(path, "never")
    with _reading(path), h5py.File(path, "r", locking=False) as file:
        attributes = _attributes(path, file)
        steps = {
            name: np.broadcast_to(np.zeros((), dataset.dtype), dataset.shape) if name in leave else dataset[...]
            for name, dataset in file["steps"].items()
        }
        return Columns(steps, {name: dataset[...] for name, dataset in file["episodes"].items()}, attributes)


def stream(path: Path) -> Iterator[tuple[str, Column, NDArray[Any]]]:
    """Yield (path in the file, column, slab of rows) in the order of the content hash. This takes little memory.

    Checksums are not compared, so the caller must compare a hash. Raises DataError if the file cannot be read.
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


def hash_file(path: Path) -> str:
    """Return the content hash of a file, read slab by slab. Raises DataError if it cannot be read."""
    content = ContentHash()
    with Lanes() as lanes:
        for name, column, slab in stream(path):
            lanes.run(content=partial(content.add, name, column, slab))
    return content.hexdigest()


def _attributes(path: Path, file: h5py.File) -> dict[str, Any]:
    attributes = {key: _plain(value) for key, value in file.attrs.items()}
    _check_version(path, attributes)
    _check_attributes(path, attributes)
    return attributes


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn every error that h5py raises for a damaged file into a DataError with one line."""
    try:
        if path.stat().st_size == 0:
            raise DataError(f"{path}: empty file; fetch or convert it again")
        yield
    except UserError:
        raise
    except Exception as error:
        cause = " ".join(str(error).split())
        raise DataError(
            f"{path}: cannot be read ({cause[:90]}); it is damaged or not in our layout: fetch or convert it again"
        ) from error


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    return value.item() if isinstance(value, np.generic) else value


def _check_version(path: Path, attributes: Mapping[str, Any]) -> None:
    if "schema_version" not in attributes:
        raise DataError(f"{path}: an HDF5 file, but not in our layout; convert it first (recordings: data=recorded_*)")
    if attributes["schema_version"] != SCHEMA_VERSION:
        found = attributes["schema_version"]
        raise DataError(
            f"{path}: layout version {found}, but this program reads {SCHEMA_VERSION}; update vgm2p or convert it again"
        )
    if attributes.get("complete") != 1:
        raise DataError(f"{path}: incomplete, because its conversion was interrupted; delete it and convert it again")


def _check_attributes(path: Path, attributes: Mapping[str, Any]) -> None:
    missing = [key for key in (*REQUIRED, "content_sha256", "attributes_sha256") if key not in attributes]
    if missing:
        raise DataError(f"{path}: attribute '{missing[0]}' is missing; convert it again")
    if attributes_hash(attributes) != attributes["attributes_sha256"]:
        raise DataError(
            f"{path}: the attributes differ from their hash, so the file is damaged; fetch or convert it again"
        )
