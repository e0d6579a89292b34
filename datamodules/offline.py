"""The LightningDataModule. It loads a dataset, and its loader yields blocks of update numbers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, Protocol

import torch
from lightning import LightningDataModule

from vgm2p.datamodules.layout.combine import best, concatenate, select
from vgm2p.datamodules.layout.combine import digest_of as joined_digest
from vgm2p.datamodules.layout.outcomes import achieved
from vgm2p.datamodules.layout.reading import digest_of, outline
from vgm2p.datamodules.layout.sampling import ESS, check_ess
from vgm2p.datamodules.layout.schema import Columns
from vgm2p.datamodules.store.budget import choose
from vgm2p.datamodules.store.flat import UNUSED, WIDE, narrow
from vgm2p.datamodules.store.transitions import TransitionStore
from vgm2p.errors import ConfigError, nearest

SAMPLINGS = ("auto", "uniform", "return")


class FileSource(Protocol):
    """A source of HDF5 files. It downloads or converts them if necessary.

    It may have an attribute `discrete`: whether actions are indices, known before a file is there; None: not known.
    """

    def resolve(self) -> list[Path]:
        """Return the files in our layout. Raises MissingInput, which says which file to place where."""
        ...


class Blocks:
    """Iterable of blocks (start, stop) of the remaining updates.

    A block ends at each multiple of `block` or of an interval. The ends do not depend on `start`, so a resumed run has
    the same ends. Blocks are computed one by one, because a run may have millions of them.

    Args:
        start: number of updates that are done.
        total: number of updates of the whole run.
        block: largest number of updates in a block.
        intervals: periods, in updates, of evaluations, checkpoints and the like.
        further: single updates at which a block ends as well.
    """

    def __init__(
        self, start: int, total: int, block: int, intervals: Sequence[int], further: Sequence[int] = ()
    ) -> None:
        self._start, self._total = start, total
        steps = {block, *intervals}
        # a multiple of another step adds no edge
        self._steps = sorted(step for step in steps if not any(step % other == 0 for other in steps - {step}))
        self._further = [update for update in further if all(update % step for step in self._steps)]

    def __len__(self) -> int:
        if self._start >= self._total:
            return 0
        single = sum(self._start < update < self._total for update in self._further)
        return self._edges(self._total - 1) - self._edges(self._start) + single + 1

    def __iter__(self) -> Iterator[tuple[int, int]]:
        start = self._start
        while start < self._total:
            single = [update for update in self._further if update > start]
            stop = min([self._total, *single, *[(start // step + 1) * step for step in self._steps]])
            yield start, stop
            start = stop

    def _edges(self, last: int) -> int:
        """Return how many numbers from 1 to `last` are multiples of a step (inclusion-exclusion principle)."""
        signed = [
            (1 if size % 2 else -1, math.lcm(*chosen))
            for size in range(1, len(self._steps) + 1)
            for chosen in itertools.combinations(self._steps, size)
        ]
        return sum(sign * (last // multiple) for sign, multiple in signed)


class OfflineDataModule(LightningDataModule):
    """The dataset of a run, built from `conf/data/*.yaml`.

    Args:
        name: name of the dataset, for reports.
        source: provides the files.
        batch_size: transitions per update and seed.
        view: how the agents' observations are built (`raw_onehot`, `omiga`, `native`).
        obs_norm: when observations are standardised: `auto`, `dataset` or `none`.
        timeouts: TD target at a time limit: `bootstrap`, `terminal`, `drop` or `self`.
        verify: when the content hash is compared: `auto` (once per file), `full` (always) or `never`.
        best_share: train only on this share of the episodes, those with the highest returns. None: on all episodes.
        sampling: how steps are drawn: `uniform`, or `return` (with probability proportional to exp(return / T));
            `auto`: as `draw_as` says, or uniform.
        ess: of draws by return, the effective sample size that T gives, as a share of the steps; `auto`: chosen from
            the data (`store.effective_size`). None: ESS, but `auto` after `draw_as`.
        root: folder of recordings. The `source` of the yaml refers to it.
        cache: folder of converted files and flat files. The `source` of the yaml refers to it.
        max_resident: memory that the dataset may take, in bytes or as text (`4GiB`, `500MB`). `auto`: half of the free
            memory. A larger dataset is mapped from flat files.
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
        sampling: str = "auto",
        ess: float | Literal["auto"] | None = None,
        root: str | None = None,
        cache: str | None = None,
        max_resident: str | int = "auto",
    ) -> None:
        super().__init__()
        self.name, self.source, self.batch_size = name, source, batch_size
        self.root, self.cache = root, cache
        self.view, self.obs_norm, self.timeouts, self.verify = view, obs_norm, timeouts, verify
        if sampling not in SAMPLINGS:
            raise ConfigError(f"data.sampling='{sampling}' is unknown{nearest(sampling, SAMPLINGS)}")
        if ess is not None and sampling == "uniform":
            raise ConfigError(f"data.ess={ess} has no effect with data.sampling={sampling}; add data.sampling=return")
        check_ess(ESS if ess is None or ess == "auto" else ess)
        self.best_share, self.sampling, self.ess = best_share, sampling, ess
        self.max_resident = max_resident
        self.device = torch.device("cpu")  # the training device; set before the dataset is loaded
        self.memory = ""  # line for the user: memory or disk, and why
        self._store: TransitionStore | None = None
        self._whole: Columns | None = None
        self._blocks: Callable[[], Blocks] | None = None

    @property
    def store(self) -> TransitionStore:
        """The dataset, loaded on first use. Raises as `FileSource.resolve`, `TransitionStore.load` and `map` do."""
        if self._store is None:
            whole = self._load(self.source.resolve())
            self._whole = whole.dataset
            store = whole if self.best_share is None else whole.best_episodes(self.best_share)
            store.cache = None if self.cache is None else Path(self.cache)
            self._store = store
            self._draw()
        return self._store

    def draw_as(self, draws: Literal["uniform", "return"]) -> None:
        """Replace `sampling=auto` by how an algorithm draws; `ess` is then `auto`, unless it is set."""
        if self.sampling != "auto":
            return
        self.sampling = draws
        if draws == "return" and self.ess is None:
            self.ess = "auto"
        if self._store is not None:
            self._draw()

    def _draw(self) -> None:
        if self.sampling == "return":
            self.store.draw_by_return(ESS if self.ess is None else self.ess)

    def achieved(self) -> dict[str, list[float]]:
        """Return measure -> values of all complete episodes, also of those that `best_share` leaves out."""
        assert self._whole is not None
        return {measure: values.tolist() for measure, values in achieved(self._whole).items()}

    def digest(self) -> str:
        """Return the digest of the dataset, as in the summary of the store, from the hashes that the files name.

        No column is read, but for `best_share` those that are not wide. Raises as `store`.
        """
        paths = self.source.resolve()
        if self.best_share is None:
            named = [digest_of(path) for path in paths]
            return named[0] if len(named) == 1 else joined_digest(named)
        parts = [narrow(outline(path, (*WIDE, *UNUSED))) for path in paths]
        whole = concatenate(parts)
        return str(select(whole, best(whole, self.best_share)).attributes["content_sha256"])

    def _load(self, paths: list[Path]) -> TransitionStore:
        plan = choose(paths, self.view, self.max_resident, self.device)
        self.memory = plan.line
        options = (self.view, self.obs_norm, self.timeouts, self.verify)
        if plan.resident:
            return TransitionStore.load(paths, *options)
        return TransitionStore.map(paths, paths[0].parent if self.cache is None else Path(self.cache), *options)

    def teardown(self, stage: str | None = None) -> None:
        """End the threads that prepare batches (Lightning's hook)."""
        if self._store is not None:
            self._store.close()

    def setup(self, stage: str | None = None) -> None:
        """Load the dataset (Lightning's hook)."""
        _ = self.store

    def schedule(self, blocks: Callable[[], Blocks]) -> None:
        """Set the function that makes the blocks. `train_dataloader` calls it, after a checkpoint is restored."""
        self._blocks = blocks

    def train_dataloader(self) -> Blocks:
        """Return the blocks of the remaining updates. Raises RuntimeError if `schedule` was not called."""
        if self._blocks is None:
            raise RuntimeError("OfflineDataModule.schedule must be called before fit")
        return self._blocks()
