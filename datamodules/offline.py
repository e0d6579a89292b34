"""The LightningDataModule: HDF5 to a resident dataset, and a loader that yields blocks of update numbers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import torch
from lightning import LightningDataModule

from vgm2p.datamodules.store.budget import choose
from vgm2p.datamodules.store.transitions import TransitionStore


class FileSource(Protocol):
    """Where the HDF5 files come from; converts or downloads them if it must."""

    def resolve(self) -> list[Path]:
        """Return the files in our layout. Raises MissingInput naming what to place where."""
        ...


class Blocks:
    """Iterable of (start, stop): the updates still missing, cut at multiples of every interval.

    Edges lie on an absolute grid, so that a run resumed in the middle of a block meets the same edges, and nothing
    depends on the block size. Blocks are computed as they are asked for: a run may have millions of them.
    """

    def __init__(self, start: int, total: int, block: int, intervals: Sequence[int]) -> None:
        self._start, self._total = start, total
        steps = {block, *intervals}
        # a multiple of another step adds no edge
        self._steps = sorted(step for step in steps if not any(step % other == 0 for other in steps - {step}))

    def __len__(self) -> int:
        if self._start >= self._total:
            return 0
        return self._edges(self._total - 1) - self._edges(self._start) + 1

    def __iter__(self) -> Iterator[tuple[int, int]]:
        start = self._start
        while start < self._total:
            stop = min([self._total, *[(start // step + 1) * step for step in self._steps]])
            yield start, stop
            start = stop

    def _edges(self, last: int) -> int:
        """Return how many numbers from 1 to `last` are multiples of a step (inclusion and exclusion)."""
        signed = [
            (1 if size % 2 else -1, math.lcm(*chosen))
            for size in range(1, len(self._steps) + 1)
            for chosen in itertools.combinations(self._steps, size)
        ]
        return sum(sign * (last // multiple) for sign, multiple in signed)


class OfflineDataModule(LightningDataModule):
    """Made by Hydra from `conf/data/*.yaml`.

    Args:
        name: name of the dataset, for reports.
        source: where the files come from.
        batch_size: transitions per update and seed.
        view: how agents' observations are built (`raw_onehot`, `omiga`, `native`).
        obs_norm: `auto`, `dataset` or `none`.
        timeouts: what follows a time limit: `bootstrap`, `terminal`, `drop` or `self`.
        verify: `auto` (hash once per file), `full` or `never`.
        best_share: train on this share of the episodes, those with the highest return; null: on all.
        root: folder of recordings; the yaml's source refers to it.
        cache: folder of converted files and of flat files; the yaml's source refers to it.
        max_resident: bytes (or `4GiB`, `500MB`) that the dataset may take in memory, `auto`: half of what is free;
            what is larger is mapped from flat files.
    """

    def __init__(
        self,
        name: str,
        source: FileSource,
        batch_size: int = 64,
        view: str = "raw_onehot",
        obs_norm: str = "auto",
        timeouts: str = "bootstrap",
        verify: str = "auto",
        best_share: float | None = None,
        root: str | None = None,
        cache: str | None = None,
        max_resident: str | int = "auto",
    ) -> None:
        super().__init__()
        self.name, self.source, self.batch_size = name, source, batch_size
        self.root, self.cache = root, cache
        self.view, self.obs_norm, self.timeouts, self.verify = view, obs_norm, timeouts, verify
        self.best_share = best_share
        self.max_resident = max_resident
        self.device = torch.device("cpu")  # of training; set before the dataset is loaded
        self.memory = ""  # where the dataset is held, and why
        self._store: TransitionStore | None = None
        self.returns: list[float] = []
        self._blocks: Callable[[], Blocks] | None = None

    @property
    def store(self) -> TransitionStore:
        """The dataset, loaded on first use; `returns` are those of all its episodes, trained on or not."""
        if self._store is None:
            whole = self._load(self.source.resolve())
            self.returns = whole.returns
            self._store = whole if self.best_share is None else whole.best_episodes(self.best_share)
        return self._store

    def _load(self, paths: list[Path]) -> TransitionStore:
        plan = choose(paths, self.view, self.max_resident, self.device)
        self.memory = plan.line
        options = (self.view, self.obs_norm, self.timeouts, self.verify)
        if plan.resident:
            return TransitionStore.load(paths, *options)
        return TransitionStore.map(paths, paths[0].parent if self.cache is None else Path(self.cache), *options)

    def teardown(self, stage: str | None = None) -> None:
        """End what prepares batches (Lightning's hook)."""
        if self._store is not None:
            self._store.close()

    def setup(self, stage: str | None = None) -> None:
        """Load the dataset (Lightning's hook)."""
        _ = self.store

    def schedule(self, blocks: Callable[[], Blocks]) -> None:
        """Set what `train_dataloader` returns; called when fit knows the restored update."""
        self._blocks = blocks

    def train_dataloader(self) -> Blocks:
        """Return the blocks still missing."""
        if self._blocks is None:
            raise RuntimeError("OfflineDataModule.schedule must be called before fit")
        return self._blocks()
