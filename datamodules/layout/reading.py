"""Read datasets in our layout: whole and validated, without their wide columns, or slab by slab."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from vgm2p.datamodules.layout.attributes import broken
from vgm2p.datamodules.layout.chunks import WORKERS, Column, workers
from vgm2p.datamodules.layout.foreign import not_ours
from vgm2p.datamodules.layout.lanes import Lanes
from vgm2p.datamodules.layout.opening import MISSING, RESTORE, opened, reading
from vgm2p.datamodules.layout.pieces import attributes_of, judged
from vgm2p.datamodules.layout.rules import check_layout, validate
from vgm2p.datamodules.layout.schema import SCHEMA_VERSION, Columns, ContentHash, attributes_hash, column_names
from vgm2p.datamodules.layout.verified import is_remembered, remember
from vgm2p.errors import ConfigError, DataError, OutOfMemory
from vgm2p.io.files import require_file
from vgm2p.io.limits import free_memory

SLAB_BYTES = 1 << 24
GROUPS = ("steps", "episodes")


def read(path: Path, verify: str = "auto") -> Columns:
    """Read and validate a dataset.

    Args:
        path: the file.
        verify: `full` compares the content hash. `auto` compares it unless this exact file was verified before.
            `never` relies on the checksums of HDF5's chunks.

    Raises:
        MissingInput: if the file does not exist or may not be read.
        DataError: if the file is damaged, has another layout, or breaks a rule of the layout.
        OutOfMemory: if the memory is too small.
        ConfigError: if `verify` has another value.
    """
    hashed = must_hash(path, verify)
    with workers(1) as hasher:
        columns, digest = _load(path, hasher if hashed else None)
        try:
            with reading(path):
                validate(path, columns.steps, columns.episodes, columns.attributes)
        finally:  # damage may be the cause of a broken rule, so it is reported instead
            if digest is not None and digest.result() != columns.attributes["content_sha256"]:
                raise damaged(path, columns.attributes)
    if hashed:
        remember(path)
    return columns


def must_hash(path: Path, verify: str) -> bool:
    """Return whether `verify` requires the content hash of this file. Raises as `require_file`, and ConfigError."""
    if verify not in ("auto", "full", "never"):
        raise ConfigError(f"data.verify must be auto, full or never, got '{verify}'")
    require_file(path, MISSING)
    return verify == "full" or (verify == "auto" and not is_remembered(path))


def damaged(path: Path, attributes: Mapping[str, Any]) -> DataError:
    """Return the error for a file whose content differs from its hash. Its attributes say how to get it again."""
    return DataError(f"{path}: the content differs from its hash, so the file is damaged; {remedy(attributes)}")


def remedy(attributes: Mapping[str, Any]) -> str:
    """Return how to get a damaged file again: a published or recorded dataset is converted anew, an own one is not."""
    if "hub_path" in attributes:
        return f"`vgm2p data convert {attributes.get('name')}` makes it again"
    if attributes.get("source") == "recorded":
        return "delete it, and the next run converts the recording again"
    return RESTORE


def _load(path: Path, hasher: ThreadPoolExecutor | None) -> tuple[Columns, Future[str] | None]:
    """Return the columns, and a future for their content hash, which a thread computes."""
    with opened(path) as file, workers(WORKERS) as readers:
        found, attributes = _datasets(path, file)
        require_memory(path, found)
        columns = {name: Column(dataset, check=hasher is None) for name, dataset in found.items()}
        loads = {name: column.load(readers) for name, column in columns.items()}
        digest = None if hasher is None else hasher.submit(_hash_loads, columns, loads)
        for _, tasks in loads.values():
            for task in tasks:
                task.result()
    tables = [_table({name: array for name, (array, _) in loads.items()}, group) for group in GROUPS]
    return Columns(tables[0], tables[1], attributes), digest


def _datasets(path: Path, file: h5py.File) -> tuple[dict[str, h5py.Dataset], dict[str, Any]]:
    """Return the columns of an open file in the order of the content hash, and its attributes.

    Layout, types, shapes and sizes are checked, and nothing is read from the columns. Raises DataError.
    """
    attributes = _attributes(path, file)
    for group in GROUPS:
        if not isinstance(file.get(group, getlink=True), h5py.HardLink) or not isinstance(file[group], h5py.Group):
            raise broken(path, f"the group '{group}' is missing")
    found = judged(path, file, column_names(file))
    check_layout(path, _table(found, "steps"), _table(found, "episodes"), attributes)
    return found, attributes


def require_memory(path: Path, found: Mapping[str, h5py.Dataset]) -> None:
    """Raise OutOfMemory if the columns need more memory than is free: the system would kill the process."""
    need, free = sum(dataset.nbytes for dataset in found.values()), free_memory()
    if need > free:
        raise OutOfMemory(
            f"{path}: needs {need / 1e9:.2f} GB of memory, {free / 1e9:.2f} GB are free; end other programs, or use a "
            "machine with more"
        )


def _table(columns: Mapping[str, Any], group: str) -> dict[str, Any]:
    """Return the columns of one group, without its name."""
    return {name.removeprefix(f"{group}/"): column for name, column in columns.items() if name.startswith(f"{group}/")}


def _hash_loads(opened: dict[str, Column], loads: dict[str, tuple[NDArray[Any], list[Future[None]]]]) -> str:
    digest = ContentHash()
    for name, (array, tasks) in loads.items():
        for (start, stop), task in zip(opened[name].pieces(), tasks, strict=True):
            task.result()
            digest.add(name, array, array[start:stop])
    return digest.hexdigest()


def outline(path: Path, leave: Collection[str]) -> Columns:
    """Return a dataset without reading the step columns in `leave`.

    The arrays of these columns have the right type and shape, contain zeros and take no memory. Layout and attributes
    are checked, numbers are not. Raises as `read` does.
    """
    with opened(path) as file:
        found, attributes = _datasets(path, file)
        steps = {
            name: np.broadcast_to(np.zeros((), dataset.dtype), dataset.shape) if name in leave else dataset[...]
            for name, dataset in _table(found, "steps").items()
        }
        return Columns(steps, {name: dataset[...] for name, dataset in _table(found, "episodes").items()}, attributes)


def stream(path: Path) -> Iterator[tuple[str, Column, NDArray[Any]]]:
    """Yield (path in the file, column, slab of rows) in the order of the content hash. This takes little memory.

    Checksums are not compared, so the caller must compare a hash. Raises as `read` does.
    """
    with opened(path) as file:
        for name, dataset in judged(path, file, column_names(file)).items():
            column = Column(dataset, check=False)
            for slab in column.slabs(SLAB_BYTES):
                yield name, column, slab


def hash_file(path: Path) -> str:
    """Return the content hash of a file, read slab by slab. Raises DataError if it cannot be read."""
    content = ContentHash()
    with Lanes() as lanes:
        for name, column, slab in stream(path):
            lanes.run(content=partial(content.add, name, column, slab))
    return content.hexdigest()


def digest_of(path: Path) -> str:
    """Return the content hash that a file names, without comparing it with the content. Raises as `read` does."""
    with opened(path) as file:
        return str(_attributes(path, file)["content_sha256"])


def _attributes(path: Path, file: h5py.File) -> dict[str, Any]:
    attributes = {key: _plain(path, key, value) for key, value in attributes_of(path, file).items()}
    if "schema_version" not in attributes:
        raise not_ours(path, file)
    if attributes["schema_version"] != SCHEMA_VERSION:
        found = attributes["schema_version"]
        raise DataError(
            f"{path}: layout version {found}, but this program reads {SCHEMA_VERSION}; update vgm2p or convert it again"
        )
    if attributes.get("complete") != 1:
        raise DataError(f"{path}: incomplete, because its writer was interrupted; delete it and make it again")
    for key in ("content_sha256", "attributes_sha256"):
        if not re.fullmatch("[0-9a-f]{64}", str(attributes.get(key))):  # the name of flat files begins with it
            raise broken(path, f"attribute '{key}' is missing, or no SHA-256")
    if attributes_hash(attributes) != attributes["attributes_sha256"]:
        raise DataError(f"{path}: the attributes differ from their hash, so the file is damaged; {remedy(attributes)}")
    return attributes


def _plain(path: Path, key: str, value: Any) -> Any:
    """Return an attribute as Python's text or number. Raises DataError if it is neither."""
    try:
        found = value.decode() if isinstance(value, bytes) else value.item() if isinstance(value, np.generic) else value
    except UnicodeDecodeError:
        raise broken(path, f"attribute {key!r} is not text in UTF-8") from None
    if not isinstance(found, str | int | float):
        raise broken(path, f"attribute {key!r} has type {type(found).__name__}, not text or a number")
    return found
