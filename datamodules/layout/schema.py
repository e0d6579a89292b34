"""Our HDF5 layout: a table of steps, a table of episodes, and checksums that reveal any damage.

    /steps/*      R rows, one per observation: robot_observation (R, D) or observations (R, N, O) float32,
                  actions (R, N, A) float32 or (R, N) int16, rewards (R,) float32, terminal, timeout, has_action (R,)
                  uint8, t (R,) int32; if known, legal_actions (R, N, A) uint8, state (R, D) or (R, N, D) float32,
                  agent_rewards (R, N) float32
    /episodes/*   E rows: start, rows, length, return, end; if known, seed and behaviour
    attributes    those of `reading.REQUIRED`, facts about the origin of the data, `content_sha256` over the arrays,
                  `attributes_sha256` over the attributes

A final observation has a row of its own, with has_action = 0. Every column has fletcher32 checksums. Without them, HDF5
notices only 3 of 200 flipped bits.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from vgm2p.datamodules.layout.chunks import Column

SCHEMA_VERSION = 1
NUMERIC = "biuf"  # kinds of types that a column may have
TERMINAL, TIMEOUT, TRUNCATION, INCOMPLETE = range(4)  # values of /episodes/end
UNHASHED = ("attributes_sha256", "complete")  # attributes that `attributes_sha256` does not cover


@dataclass
class Columns:
    """A dataset in memory, with the tables of its file.

    Attributes:
        steps: name -> array with R rows.
        episodes: name -> array with E rows.
        attributes: name -> text, number or boolean.
    """

    steps: dict[str, NDArray[Any]]
    episodes: dict[str, NDArray[Any]]
    attributes: dict[str, Any] = field(default_factory=dict)

    def arrays(self) -> list[tuple[str, NDArray[Any]]]:
        """Return (path in the file, array) of every column: steps before episodes, names sorted."""
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
    """Return the SHA-256 over all attributes except those in UNHASHED."""
    kept = {key: value for key, value in attributes.items() if key not in UNHASHED}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


class ContentHash:
    """SHA-256 over names, types, shapes and little-endian bytes of the columns, whatever their chunks and compression.

    Add the columns in the order of `column_names`, each as a whole or in slabs of rows.
    """

    def __init__(self) -> None:
        self._digest, self._name = hashlib.sha256(), ""

    def add(self, name: str, column: Column | NDArray[Any], rows: NDArray[Any]) -> None:
        """Add the next rows of a column. `column` is the whole column, for its type and shape."""
        if name != self._name:
            self._name = name
            self._digest.update(f"{name} {column.dtype.newbyteorder('<').str} {column.shape}".encode())
        self._digest.update(as_bytes(rows))

    def hexdigest(self) -> str:
        """Return the hash of everything added so far."""
        return self._digest.hexdigest()


def as_bytes(array: NDArray[Any]) -> Any:
    """Return the little-endian bytes of an array in C order. They are copied only if the array has another form."""
    plain = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
    return plain.data.cast("B") if plain.size else b""


def column_names(file: h5py.File) -> list[str]:
    """Return the paths of all columns of an open file, in the order of the content hash."""
    return [f"{group}/{name}" for group in ("steps", "episodes") for name in sorted(file[group])]
