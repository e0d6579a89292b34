"""The dataset from which training draws: a row source, a table of transitions, and a prefetcher of batches."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import torch

from vgm2p.datamodules.layout.combine import best, check_same_task, concatenate, rows_of, select
from vgm2p.datamodules.layout.outcomes import known_returns
from vgm2p.datamodules.layout.reading import read
from vgm2p.datamodules.layout.sampling import Sampling
from vgm2p.datamodules.layout.schema import Columns
from vgm2p.datamodules.store.effective_size import kept_choice
from vgm2p.datamodules.store.flat import map_columns, narrow
from vgm2p.datamodules.store.gather import gather
from vgm2p.datamodules.store.mapped import MappedRows
from vgm2p.datamodules.store.prefetch import Prefetcher
from vgm2p.datamodules.store.resident import ResidentRows
from vgm2p.datamodules.store.rows import RowSource
from vgm2p.datamodules.store.survey import standardisation, survey
from vgm2p.datamodules.store.table import TransitionTable, check_timeouts
from vgm2p.rng import UpdateKey
from vgm2p.types import Batch, Needs, Randomness, Spec, Survey

ROWS_AT_ONCE = 2048  # rows gathered by one call, for several updates: a call costs more than copying the rows
THREADS = 2  # threads that gather from disk: one works while the other waits for the disk
PLAIN = Needs()


class TransitionStore:
    """Transitions of one or several files, drawn in batches. Rows in memory and rows on disk give the same bits.

    Args:
        rows: source of observations, actions, legal actions and states.
        dataset: the other columns of the same rows.
        obs_norm: when observations are standardised: `auto`, `dataset` or `none`.
        timeouts: TD target at a time limit, a key of `table.TIMEOUTS`.
        files: paths of the files, for reports.
    """

    def __init__(self, rows: RowSource, dataset: Columns, obs_norm: str, timeouts: str, files: list[Path]) -> None:
        self.rows, self.dataset, self.table = rows, dataset, TransitionTable(dataset, timeouts)
        self._obs_norm, self._files = obs_norm, files
        self.sampling: Sampling | None = None  # None: all steps alike
        self.cache: Path | None = None  # where the choice of `auto` is kept; None: nowhere
        self._device = rows.device  # the training device
        self._prefetcher: Prefetcher | None = None
        self._request: tuple[Any, ...] = ()  # arguments with which the prefetcher was made
        mean, std, self.constant = standardisation(rows, self.table, obs_norm)  # (O,): standardised features that rest
        self._moments = mean, std

    @classmethod
    def hold(
        cls, dataset: Columns, view: str, obs_norm: str, timeouts: str, files: list[Path] | None = None
    ) -> TransitionStore:
        """Return a store in memory. Raises ConfigError for an unknown view, obs_norm or timeouts."""
        check_timeouts(timeouts)
        return cls(ResidentRows.of(dataset, view), narrow(dataset), obs_norm, timeouts, files or [])

    @classmethod
    def load(
        cls,
        paths: list[Path],
        view: str = "raw_onehot",
        obs_norm: str = "auto",
        timeouts: str = "bootstrap",
        verify: str = "auto",
    ) -> TransitionStore:
        """Read, verify and join the files in order. Return a store in memory.

        Raises:
            MissingInput: if a file does not exist.
            DataError: if a file is damaged, or the files record different tasks.
            ConfigError: for an unknown view, obs_norm, timeouts or verify.
        """
        check_timeouts(timeouts)
        parts = [read(path, verify) for path in paths]
        check_same_task(paths, parts, view)
        return cls.hold(concatenate(parts), view, obs_norm, timeouts, paths)

    @classmethod
    def map(
        cls,
        paths: list[Path],
        cache: Path,
        view: str,
        obs_norm: str,
        timeouts: str,
        verify: str,
        say: Callable[[str], None] = print,
    ) -> TransitionStore:
        """Join the files in order. Return a store on flat files in `cache`. Raises as `load` and `map_columns`."""
        check_timeouts(timeouts)
        dataset, maps = map_columns(paths, cache, view, verify, say)
        return cls(MappedRows.of(dataset, maps, view), narrow(dataset), obs_norm, timeouts, paths)

    @property
    def spec(self) -> Spec:
        """The task of the data."""
        return self.rows.spec

    @property
    def reading(self) -> dict[str, str]:
        """How the rows are read, under the names of the keys of `data`: two readings of one file differ in numbers."""
        return {"view": self.spec.view, "timeouts": self.table.timeouts, "obs_norm": self._obs_norm}

    @property
    def resident(self) -> bool:
        """Whether batches are made on the training device. Only then can an update be captured with its draw."""
        return self.rows.resident

    def to(self, device: torch.device | str) -> TransitionStore:
        """Deliver batches on `device`. Rows in memory are moved there."""
        self.close()
        self._device = torch.device(device)
        self.rows.to(self._device)
        self.table.to(self.rows.device)
        return self

    def close(self) -> None:
        """End the threads that make batches. The next draw starts new ones."""
        if self._prefetcher is not None:
            self._prefetcher.close()
        self._prefetcher, self._request = None, ()

    def provide(self, needs: Needs, gamma: float) -> None:
        """Compute the columns for `needs` that the files do not have. Call this before `draw` with these needs.

        With `next_action`, a row that bootstraps from a stored final observation becomes invalid, because no action is
        stored for it.

        Args:
            needs: what updates will read.
            gamma: discount factor of `return_to_go`. ConfigError if it is needed and not below 1.
        """
        self.close()
        self.table.provide(needs, gamma)

    def survey(self, gamma: float) -> Survey:
        """Return the statistics of the data. `gamma` is the discount factor of the returns."""
        return survey(self.rows, self.table, self._moments, gamma)

    def draw(self, key: Randomness, batch_size: int, needs: Needs = PLAIN) -> Batch:
        """Return a Batch of independently drawn transitions, with leading axes (S, B), on the training device.

        They are drawn all alike, or as `draw_by_return` says.
        The call does not wait for the device. A batch depends only on the seeds and the number of the update, so the
        batches of the next updates are made by the same call.

        Args:
            key: randomness of this update.
            batch_size: B.
            needs: optional fields to fill. With history = H, `past_*` hold the H - 1 steps before each row. With
                ahead > 0, `window_*` are filled instead.

        Raises the errors of the thread that made the batch, for example OSError.
        """
        if not isinstance(key, UpdateKey):
            index = key.integers("batch", (batch_size,), self.table.numbers).to(self.rows.device)
            return self._delivered(gather(self.rows, self.table, self.table.drawn(index), needs))
        request = (key.seeds, batch_size, needs)
        if self._prefetcher is None or self._request != request:
            self.close()
            self._prefetcher, self._request = self._prefetching(key.seeds, batch_size, needs), request
        return self._prefetcher.take(key.update)

    def _prefetching(self, seeds: tuple[int, ...], batch_size: int, needs: Needs) -> Prefetcher:
        span = max(1, ROWS_AT_ONCE // (len(seeds) * batch_size * (needs.history + needs.ahead)))
        local = threading.local()  # each thread needs its own key, because a key stores the numbers of its last draw
        device, count, on_host = self._device, self.table.numbers, not self.resident and self._device.type == "cuda"

        def make(start: int) -> Batch:
            if not hasattr(local, "key"):
                local.key = UpdateKey(seeds, device)
                local.stream = torch.cuda.Stream(device) if on_host else None  # type: ignore[no-untyped-call]
            # draw the indices on the training device, in a separate stream that does not wait for queued updates
            with torch.cuda.stream(local.stream) if on_host else nullcontext():
                index = _numbers(local.key, batch_size, count, start, span).to(self.rows.device)
            batch = gather(self.rows, self.table, self.table.drawn(index), needs)
            # a copy to CUDA is asynchronous only from pinned and contiguous memory
            return batch.map(lambda x: x.contiguous().pin_memory()) if on_host else batch

        return Prefetcher(make, span, 0 if self.resident else THREADS, self._delivered)

    def _delivered(self, batch: Batch) -> Batch:
        return batch if self.resident else batch.map(lambda x: x.to(self._device, non_blocking=True))

    def best_episodes(self, share: float) -> TransitionStore:
        """Return a store of the `share` of episodes with the highest returns. Raises as `combine.best`."""
        chosen = best(self.dataset, share)
        rows = self.rows.choose(rows_of(self.dataset, chosen))
        dataset = select(self.dataset, chosen)
        return TransitionStore(rows, dataset, self._obs_norm, self.table.timeouts, self._files)

    def draw_by_return(self, ess: float | Literal["auto"]) -> None:
        """Draw steps with probability proportional to exp(return of the episode / T). Raises as `sampling.by_return`.

        With `auto`, the effective sample size is chosen (`effective_size.choose`). Statistics of the data, such as the
        standardisation of observations, stay those of all steps alike.
        """
        self.close()
        self.sampling = self.table.draw_by_return(kept_choice(self, self.cache).ess if ess == "auto" else ess)

    @property
    def summary(self) -> dict[str, Any]:
        """Facts about the data for the headers of runs and for reports."""
        returns = self.dataset.episodes["return"][known_returns(self.dataset)]
        return {
            "name": self.dataset.attributes["name"],
            "files": [path.name for path in self._files],
            "episodes": len(self.dataset.episodes["return"]),
            "transitions": len(self.table),
            "return_mean": float(returns.mean()),
            "return_std": float(returns.std()),
            "return_min": float(returns.min()),
            "return_max": float(returns.max()),
            "length_mean": float(self.dataset.episodes["length"].mean()),
            "sampling": None if self.sampling is None else self.sampling.facts,
            "constant_features": torch.nonzero(self.constant)[:, 0].tolist(),
            "digest": str(self.dataset.attributes["content_sha256"]),
            "bytes": self.rows.bytes + self.table.bytes,
        }

    @property
    def returns(self) -> list[float]:
        """The undiscounted return of every episode."""
        return [float(value) for value in self.dataset.episodes["return"]]


def _numbers(key: UpdateKey, batch_size: int, count: int, start: int, span: int) -> torch.Tensor:
    """Return the numbers below `count` drawn for updates start .. start + span - 1: (span, S, B) int64."""
    parts, missing = [], span
    while missing:
        drawn = key.at(start + span - missing).integers_ahead("batch", (batch_size,), count, missing)
        parts.append(drawn)
        missing -= len(drawn)
    return torch.cat(parts) if len(parts) > 1 else parts[0]
