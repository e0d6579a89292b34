"""Judge the arrays of an HDF5 file before anything is read: declared sizes, links, and pieces that are not there.

HDF5 reads a piece that is absent as zeros: a chunk that was never written, or the file of a virtual dataset. A small
file can declare arrays of any size.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from vgm2p.datamodules.layout.opening import RESTORE, opened
from vgm2p.datamodules.layout.schema import NUMERIC
from vgm2p.errors import DataError
from vgm2p.io.files import require_file

SMALL = 1 << 25  # arrays of this many bytes are read whatever the size of the file
RATIO = 100  # largest ratio of the arrays to the files that store them
MOST = 200  # largest number of columns, and of attributes
CHUNK = 1 << 28  # largest chunk in bytes: HDF5 unpacks a whole chunk at once
ATTRIBUTE = 1 << 24  # largest attribute in bytes
DEPTH = 4  # how often virtual datasets may lead to further virtual datasets


def judged(path: Path, file: h5py.File, names: Iterable[str]) -> dict[str, h5py.Dataset]:
    """Return name -> dataset of an open file. Nothing is read from the datasets.

    Raises:
        DataError: if one of them is a link or lies in other files, declares far more than the file can store, has a
            filter that is not installed, or if a piece of it is missing.
        MissingInput: if the file of a virtual dataset is missing.
    """
    names = list(names)
    if len(names) > MOST:
        raise DataError(f"{path}: holds {len(names)} arrays, not a dataset of ours; do not use it")
    found = {name: _dataset(path, file, name) for name in names}
    require_plausible(path, list(found.values()))
    for name, dataset in found.items():
        _check_written(path, name, dataset)
        if dataset.is_virtual:
            _check_virtual(path, name, dataset, DEPTH)
    return found


def virtual_files(path: Path, dataset: h5py.Dataset) -> set[Path]:
    """Return the files of a virtual dataset that are there; empty for another dataset."""
    if not dataset.is_virtual:
        return set()
    places = (place for source in dataset.virtual_sources() for place in _places(path, source.file_name))
    return {place for place in places if place.is_file()}


def attributes_of(path: Path, file: h5py.File) -> dict[str, Any]:
    """Return the attributes of an open file. Raises DataError if one of them is larger than ATTRIBUTE."""
    if len(file.attrs) > MOST:
        raise DataError(f"{path}: holds {len(file.attrs)} attributes, not a dataset of ours; do not use it")
    for name in file.attrs:
        attribute = h5py.h5a.open(file.id, name.encode("utf-8", "surrogateescape"))
        size = attribute.get_space().get_simple_extent_npoints() * attribute.get_type().get_size()
        if size > ATTRIBUTE:
            raise DataError(f"{path}: attribute {name!r} declares {size / 1e6:.0f} MB; do not use this file")
    return dict(file.attrs)


def _dataset(path: Path, file: h5py.File, name: str) -> h5py.Dataset:
    parts = name.split("/")
    for depth in range(1, len(parts) + 1):
        link = file.get("/".join(parts[:depth]), getlink=True)
        if not isinstance(link, h5py.HardLink):
            place = f" to {link.filename}" if isinstance(link, h5py.ExternalLink) else ""
            raise DataError(f"{path}: '{name}' is a link{place}; copy the array itself into the file")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset):
        raise DataError(f"{path}: '{name}' is a group, not an array; write the file again (docs/data.md)")
    if dataset.shape is None or dataset.dtype.kind not in NUMERIC:
        kind = "is empty" if dataset.shape is None else f"has type {dataset.dtype}"
        raise DataError(f"{path}: '{name}' {kind}, not numbers; write the file again (docs/data.md)")
    return dataset


def require_plausible(path: Path, datasets: list[h5py.Dataset]) -> None:
    """Raise DataError if datasets declare far more bytes than the files can store."""
    stored = _size(path, datasets)
    declared = sum(_declared(path, dataset) for dataset in datasets)
    if declared > max(SMALL, RATIO * stored):
        raise DataError(
            f"{path}: declares {declared / 1e9:.3g} GB of arrays, but holds {stored / 1e6:.3g} MB; do not use it"
        )


def _size(path: Path, datasets: Iterable[h5py.Dataset]) -> int:
    """Return the bytes of the file, and of the files of its virtual datasets that are there."""
    others = set[Path]().union(*(virtual_files(path, dataset) for dataset in datasets))
    return sum(place.stat().st_size for place in {path, *others})


def _declared(path: Path, dataset: h5py.Dataset) -> int:
    """Return the bytes of a dataset, in whole chunks. Raises DataError if one chunk is too large."""
    item, shape = int(dataset.dtype.itemsize), tuple(map(int, dataset.shape))
    if dataset.chunks is None:
        return item * math.prod(shape)
    chunk = item * math.prod(map(int, dataset.chunks))
    if chunk > CHUNK:
        name = dataset.name.lstrip("/")
        raise DataError(f"{path}: '{name}' has chunks of {chunk / 1e9:.3g} GB; write it with chunks of some MB")
    return chunk * _chunks(dataset)


def _chunks(dataset: h5py.Dataset) -> int:
    """Return the number of chunks of a chunked dataset."""
    return math.prod(-(-int(size) // int(part)) for size, part in zip(dataset.shape, dataset.chunks, strict=True))


def _check_written(path: Path, name: str, dataset: h5py.Dataset) -> None:
    """Check that the file itself stores every piece of a dataset, and that its filters are installed."""
    made = dataset.id.get_create_plist()
    if made.get_external_count():
        place = os.fsdecode(made.get_external(0)[0])
        raise DataError(f"{path}: '{name}' is stored in another file ({place}); copy the array itself into the file")
    for number in range(made.get_nfilters()):
        code = made.get_filter(number)[0]
        if not h5py.h5z.filter_avail(code):
            raise DataError(f"{path}: '{name}' has HDF5 filter {code}, which is not installed; repack it with gzip")
    if dataset.is_virtual or not math.prod(dataset.shape):
        return
    if dataset.chunks is None:
        count, total = int(dataset.id.get_storage_size() > 0), 1
    else:
        total = _chunks(dataset)
        count = dataset.id.get_num_chunks()
    if count < total:
        raise DataError(f"{path}: {total - count} of {total} pieces of '{name}' were never written; {RESTORE}")


def _check_virtual(path: Path, name: str, dataset: h5py.Dataset, depth: int) -> None:
    """Check that every file behind a virtual dataset is there and holds what it maps, and that all of it is mapped."""
    if not depth:
        raise DataError(f"{path}: '{name}' is a virtual dataset of virtual datasets; copy the array into the file")
    mapped = np.zeros(dataset.shape, bool)
    for source in dataset.virtual_sources():
        _mark(mapped, source.vspace)
        if "%" in source.file_name or "%" in source.dset_name:
            raise DataError(f"{path}: '{name}' is a virtual dataset with a pattern; copy the array into the file")
        if source.file_name == ".":
            _check_source(path, name, path, dataset.file, source, depth)
            continue
        places = _places(path, source.file_name)
        place = next((place for place in places if place.exists()), places[0])
        require_file(place, f"missing, and '{name}' of {path} is stored there; restore it or copy the array")
        with opened(place) as file:
            _check_source(path, name, place, file, source, depth)
    if not mapped.all():
        raise DataError(f"{path}: only {mapped.sum()} of {mapped.size} numbers of '{name}' are stored; {RESTORE}")


def _mark(mapped: NDArray[np.bool_], space: Any) -> None:
    """Set the numbers that a mapping of a virtual dataset fills to True."""
    kind = space.get_select_type()
    if kind == h5py.h5s.SEL_ALL:
        mapped[...] = True
    elif kind == h5py.h5s.SEL_HYPERSLABS and space.is_regular_hyperslab():
        axes = []
        for size, first, step, count, block in zip(mapped.shape, *space.get_regular_hyperslab(), strict=True):
            begins = first + step * np.arange(min(count, size))
            places = (begins[:, None] + np.arange(min(block, size))).reshape(-1)
            axes.append(places[places < size])
        mapped[np.ix_(*axes)] = True
    elif kind == h5py.h5s.SEL_HYPERSLABS:
        for first, last in space.get_select_hyper_blocklist():
            mapped[tuple(slice(a, b + 1) for a, b in zip(first, last, strict=True))] = True


def _check_source(path: Path, name: str, place: Path, file: h5py.File, source: Any, depth: int) -> None:
    if source.dset_name not in file:
        raise DataError(f"{path}: '{name}' is stored in '{source.dset_name}' of {place}, which is missing; {RESTORE}")
    inner = _dataset(place, file, source.dset_name.strip("/"))
    if source.src_space.get_select_type() == h5py.h5s.SEL_ALL:
        short = math.prod(inner.shape) < source.vspace.get_select_npoints()
    else:
        reach = source.src_space.get_select_bounds()[1]
        short = len(reach) != len(inner.shape) or bool(np.any(np.asarray(reach) >= np.asarray(inner.shape)))
    if short:
        raise DataError(f"{path}: '{name}' needs more of '{source.dset_name}' in {place} than is there; {RESTORE}")
    _check_written(place, source.dset_name, inner)
    if inner.is_virtual:
        require_plausible(place, [inner])
        _check_virtual(place, source.dset_name, inner, depth - 1)


def _places(path: Path, name: str) -> list[Path]:
    """Return where HDF5 looks for a file of a virtual dataset, in this order."""
    given, folder = Path(name), path.parent
    return [given, folder / given.name] if given.is_absolute() else [folder / given, given]
