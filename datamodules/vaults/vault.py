"""Read OG-MARL vaults: Zarr v2 arrays in an OCDBT database. The package tensorstore reads them in slabs of rows."""

from __future__ import annotations

import ast
import json
import math
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgm2p.datamodules.layout.pieces import CHUNK, RATIO, SMALL
from vgm2p.errors import DataError, MissingInput

MARKERS = ("metadata.json", "manifest.ocdbt")  # files that every vault has
SLAB_BYTES = 1 << 24
NEEDED = ("observations", "actions", "rewards")
FLAGS = ("terminals", "truncations")  # a vault has at least one of them


@dataclass(frozen=True)
class Leaf:
    """One array of a vault: its name, for example `infos.legals`, its shape per row, and its type."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class Vault:
    """A uid folder of a vault, opened for reading.

    Args:
        folder: the folder with `metadata.json` and `manifest.ocdbt`.
        published: whether the vault can be fetched again. If not, it is the user's own.

    Attributes:
        again: what the user can do about damage.
        repair: what the user can do about wrong content.

    Raises:
        MissingInput: if the package tensorstore is not installed, or the folder is not a vault.
        DataError: if the vault is damaged, or its batch axis is longer than 1.
    """

    def __init__(self, folder: Path, published: bool = False) -> None:
        self.folder = folder.resolve()
        self.again = "fetch the vault again" if published else "copy the vault again"
        self.repair = "fetch the vault again" if published else "correct the vault"
        if not all((self.folder / name).is_file() for name in MARKERS):
            raise no_vault(folder)
        self.version, shapes, dtypes = _metadata(self.folder / "metadata.json", self.again)
        self._stores: dict[str, Any] = {}
        self.rows = self._index()
        if self.rows < 1:
            raise DataError(f"{folder}: the vault has no rows; {self.repair}")
        self.leaves = {name: Leaf(name, shapes[name], dtypes[name]) for name in shapes}
        lacking = [name for name in NEEDED if name not in self.leaves]
        if not any(name in self.leaves for name in FLAGS):
            lacking.append(" or ".join(FLAGS))
        if lacking:
            raise DataError(f"{folder}: not supported: a vault without '{lacking[0]}'; {self.repair}")
        for leaf in self.leaves.values():
            self._check(leaf)
        stored = sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())
        if self.bytes > max(SMALL, RATIO * stored):
            raise DataError(
                f"{folder}: declares {self.bytes / 1e9:.3g} GB, but holds {stored / 1e6:.3g} MB; {self.again}"
            )

    @property
    def bytes(self) -> int:
        """Size of all leaves, unpacked."""
        return self.rows * sum(leaf.dtype.itemsize * int(np.prod(leaf.shape)) for leaf in self.leaves.values())

    def _index(self) -> int:
        try:
            return int(self._opened("vault_index", "vault_index/")[0].read().result())
        except (ValueError, TypeError) as error:
            raise self._damaged("vault_index", error) from error

    def slabs(self, name: str) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield (first row, rows) of a leaf, in whole chunks. The next slab is read in the background.

        Raises DataError if the bytes cannot be decoded.
        """
        store = self._opened(name)
        leaf = self.leaves[name]
        chunk = int(store.chunk_layout.read_chunk.shape[1])
        row_bytes = max(1, leaf.dtype.itemsize * int(np.prod(leaf.shape)))
        step = chunk * max(1, SLAB_BYTES // (chunk * row_bytes))
        starts = range(0, self.rows, step)
        ahead = self._begin(store, starts[0], step)
        for start in starts:
            now = ahead
            if start + step < self.rows:
                ahead = self._begin(store, start + step, step)
            try:
                yield start, np.asarray(now.result())
            except ValueError as error:
                raise self._damaged(name, error) from error

    def _begin(self, store: Any, start: int, step: int) -> Any:
        return store[0, start : min(start + step, self.rows)].read()

    def _check(self, leaf: Leaf) -> None:
        store = self._opened(leaf.name)
        if store.shape[0] != 1:
            raise DataError(f"{self.folder}: '{leaf.name}' has a batch axis of {store.shape[0]}, not 1; not supported")
        if store.shape[2:] != leaf.shape or store.dtype.numpy_dtype != leaf.dtype:
            raise DataError(f"{self.folder}: '{leaf.name}' differs from what metadata.json says; {self.again}")
        chunk = store.chunk_layout.read_chunk.shape
        if leaf.dtype.itemsize * math.prod(chunk) > CHUNK:
            raise DataError(f"{self.folder}: '{leaf.name}' has chunks of {tuple(chunk)}, too large to be unpacked")
        if store.shape[1] < self.rows:
            raise DataError(f"{self.folder}: '{leaf.name}' is shorter than the vault's {self.rows} rows; {self.again}")

    def _opened(self, name: str, path: str | None = None) -> Any:
        if name not in self._stores:
            base = {"driver": "file", "path": f"{self.folder}/"}
            kvstore = {"driver": "ocdbt", "base": base, "path": path or f"{name}./"}
            try:
                self._stores[name] = tensorstore().open({"driver": "zarr", "kvstore": kvstore}, read=True).result()
            except ValueError as error:
                raise self._damaged(name, error) from error
        return self._stores[name]

    def _damaged(self, name: str, error: Exception) -> DataError:
        cause = " ".join(str(error).replace(str(self.folder), "").split())
        return DataError(f"{self.folder}: '{name}' cannot be read ({cause[:60]}); damaged: {self.again}")


def tensorstore() -> Any:
    """Return the package tensorstore. Raises MissingInput, which names the command that installs it."""
    try:
        import tensorstore as ts
    except ImportError as error:
        raise MissingInput("reading vaults needs tensorstore; run `pip install tensorstore`") from error
    return ts


def find_vaults(root: Path) -> dict[str, Path]:
    """Return uid -> folder for every vault below `root`, at any depth. The name of the folder is the uid."""
    return {folder.name: folder for folder in vaults_below(root)}


def vaults_below(root: Path) -> list[Path]:
    """Return the folders of all vaults at or below `root`, sorted."""
    return sorted(path.parent for path in root.rglob(MARKERS[0]) if (path.parent / MARKERS[1]).is_file())


def no_vault(path: Path) -> MissingInput:
    """Return the error for a path that is no folder of a vault, with the remedy for what is there."""
    if not path.exists():
        return MissingInput(f"{path}: no such folder; give the folder of one uid of a vault")
    if path.is_file():
        kind = "a zip; unpack it, and give" if zipfile.is_zipfile(path) else "a file; give"
        return MissingInput(f"{path}: {kind} the folder of one uid of a vault (HDF5 files: data=files)")
    inside = [marker.parent.name for marker in sorted(path.glob(f"*/{MARKERS[0]}"))]
    absent = next(name for name in MARKERS if not (path / name).is_file())
    uids = f" (here: {', '.join(inside)})" if inside else ""
    return MissingInput(f"{path}: no vault here ({absent} is missing); give the folder of one uid{uids}")


def _metadata(path: Path, again: str) -> tuple[float, dict[str, tuple[int, ...]], dict[str, np.dtype[Any]]]:
    try:
        content = json.loads(path.read_text())
        version = float(content["version"])
        shapes = {name: _shape(text) for name, text in _flat(content["structure_shape"])}
        dtypes = {name: _dtype(path, name, str(text)) for name, text in _flat(content["structure_dtype"])}
        if int(version) != 1 or shapes.keys() != dtypes.keys():
            raise ValueError(f"version {version}")
    except OSError as error:
        raise MissingInput(f"{path}: cannot be read ({error.strerror}); make it readable") from error
    except (ValueError, KeyError, TypeError, SyntaxError, AttributeError, RecursionError, MemoryError) as error:
        raise DataError(f"{path}: not a vault's metadata ({type(error).__name__}); {again}") from error
    return version, shapes, dtypes


def _dtype(path: Path, name: str, text: str) -> np.dtype[Any]:
    try:
        return np.dtype(text)
    except TypeError as error:
        raise DataError(
            f"{path.parent}: not supported: '{name}' has type {ascii(text)[:30]}, unknown to numpy"
        ) from error


def _shape(text: str) -> tuple[int, ...]:
    """Return the shape of a row, without the two leading axes: batch axis and length of the writer's buffer."""
    shape = ast.literal_eval(text)
    if not isinstance(shape, tuple) or len(shape) < 2 or not all(isinstance(x, int) and x > 0 for x in shape):
        raise ValueError(text)
    return tuple(shape[2:])


def _flat(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
