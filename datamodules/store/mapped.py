"""Rows on disk: the wide columns are mapped from flat files, and rows are gathered on the host."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vgm2p.datamodules.layout.rules import observed_in
from vgm2p.datamodules.layout.schema import Columns
from vgm2p.datamodules.layout.task import spec_of, stored_as
from vgm2p.datamodules.store.rows import Views


class MappedRows:
    """A `RowSource` for files that are larger than memory.

    It computes for the gathered rows what `ResidentRows` computes for all rows at loading.

    Args:
        wide: name -> mapped column, with all rows of the files.
        maps: name -> the mapping behind the column.
        views: rules that build observations.
        kept: row numbers in the files of the selected rows. None: all rows are selected.
    """

    def __init__(
        self,
        wide: Mapping[str, NDArray[Any]],
        maps: Mapping[str, mmap.mmap],
        views: Views,
        kept: NDArray[np.int64] | None = None,
    ) -> None:
        self.spec, self.wide = views.spec, wide
        self._maps, self._views, self._kept = maps, views, kept
        observed = observed_in(wide)
        assert observed is not None  # `rules.check_layout` has checked this
        self._observed = wide[observed]
        self._advise("MADV_RANDOM")  # a batch reads scattered rows, so reading ahead would be wasted

    @classmethod
    def of(cls, dataset: Columns, maps: Mapping[str, mmap.mmap], view: str) -> MappedRows:
        """Return the source of a dataset with mapped wide columns. Raises ConfigError if it has no such view."""
        return cls(dataset.steps, maps, Views(spec_of(dataset, view), stored_as(dataset)))

    @property
    def resident(self) -> bool:
        """False: rows are gathered on the host, for any training device."""
        return False

    @property
    def device(self) -> torch.device:
        """The device on which rows are gathered: the CPU."""
        return torch.device("cpu")

    @property
    def bytes(self) -> int:
        """Bytes of memory that the columns take. It is 0, because the system may free mapped pages at any time."""
        return 0

    def observations(self, rows: Tensor) -> Tensor:
        """Return the observations of all agents: (..., N, O) float32."""
        found = self._gather(self._observed, rows)
        return self._views.of_robot(self._views.robot(found)) if self._views.built else found

    def actions(self, rows: Tensor) -> Tensor:
        """Return the actions of all agents: (..., N, A) float32 in [-1, 1], or (..., N) int64."""
        found = self._gather(self.wide["actions"], rows)
        return found.long() if self.spec.discrete else found.clamp(-1.0, 1.0)

    def legal(self, rows: Tensor) -> Tensor:
        """Return a mask of the legal actions: (..., N, A) bool."""
        return self._gather(self.wide["legal_actions"], rows).bool()

    def states(self, rows: Tensor) -> Tensor:
        """Return global states: (..., D) or (..., N, D) float32."""
        if self._views.has_robot:
            return self._views.robot(self._gather(self._observed, rows))
        return self._gather(self.wide["state"], rows)

    @contextmanager
    def scanning(self) -> Iterator[None]:
        """Let the system read ahead during one pass over all rows."""
        self._advise("MADV_NORMAL")
        yield
        self._advise("MADV_RANDOM")

    def scan(self, rows: Tensor) -> Tensor:
        """Return robot observations (..., D), or the agents' own (..., N, O). Free the memory of the mapped pages."""
        found = self.states(rows) if self._views.has_robot else self.observations(rows)
        self._advise("MADV_DONTNEED")
        return found

    def choose(self, kept: NDArray[Any]) -> MappedRows:
        """Return a source of the rows `kept`, numbered from 0. It uses the same files."""
        return MappedRows(self.wide, self._maps, self._views, kept if self._kept is None else self._kept[kept])

    def to(self, device: torch.device) -> None:
        """Do nothing: the files stay where they are."""

    def _advise(self, advice: str) -> None:
        for mapped in self._maps.values() if hasattr(mmap, advice) else ():
            mapped.madvise(getattr(mmap, advice))

    def _gather(self, column: NDArray[Any], rows: Tensor) -> Tensor:
        index = rows.numpy() if self._kept is None else self._kept[rows.numpy()]
        return torch.from_numpy(np.take(column, index, axis=0))
