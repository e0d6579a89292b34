"""The dataset on disk: wide columns mapped from flat files, batches of the next updates made ahead in threads."""

from __future__ import annotations

import mmap
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vgm2p.datamodules.layout.combine import best, rows_of, select
from vgm2p.datamodules.layout.schema import Columns
from vgm2p.datamodules.store.flat import WIDE, map_columns, narrow
from vgm2p.datamodules.store.resident import PLAIN, TransitionStore, check_timeouts
from vgm2p.envs.observation import robot_of_omiga
from vgm2p.rng import UpdateKey
from vgm2p.types import Batch, Needs, Randomness

DEPTH = 8  # batches made ahead
THREADS = 2  # that make them: one waits for the disk while the other works


class MappedStore(TransitionStore):
    """`TransitionStore` for data larger than memory: the same draws, bit for bit.

    Rows are gathered from mapped files on the host; what a resident dataset derives from a column at loading (clamped
    actions, the robot behind omiga's vectors, agents' views) is derived from the gathered rows. The batch of update u
    depends on seeds and u alone, so those of the next updates are made in threads meanwhile.

    Args:
        columns: the dataset; with `kept`, its narrow columns are of the chosen rows, its wide ones of all.
        maps: the mappings behind its wide columns.
        view: as the resident dataset's.
        obs_norm: likewise.
        timeouts: likewise.
        files: likewise.
        kept: chosen row -> row of the wide columns, or None where all are chosen.
    """

    def __init__(
        self,
        columns: Columns,
        maps: dict[str, mmap.mmap],
        view: str,
        obs_norm: str,
        timeouts: str,
        files: list[Path],
        kept: NDArray[np.int64] | None = None,
    ) -> None:
        self._maps, self._kept = maps, kept
        self._device = torch.device("cpu")
        self._ahead: Ahead | None = None
        super().__init__(columns, view, obs_norm, timeouts, files)
        self._advise("MADV_RANDOM")  # a batch is rows here and there: reading ahead would read for nothing

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
    ) -> MappedStore:
        """Join the files in order and map them. Raises as `TransitionStore.load` and `flat.map_columns`."""
        check_timeouts(timeouts)
        columns, maps = map_columns(paths, cache, view, verify, say)
        return cls(columns, maps, view, obs_norm, timeouts, paths)

    @property
    def resident(self) -> bool:
        """Whether batches are made on the training device: no."""
        return False

    def to(self, device: torch.device | str) -> MappedStore:
        """Deliver batches on `device`; the data stay where they are."""
        self.close()
        self._device = torch.device(device)
        return self

    def draw(self, key: Randomness, batch_size: int, needs: Needs = PLAIN) -> Batch:
        """Return the batch of the key's update, as `TransitionStore.draw`.

        Raises what went wrong in the thread that made it, for example OSError.
        """
        if not isinstance(key, UpdateKey):
            return self._delivered(super().draw(OnHost(key), batch_size, needs))
        request = (key.seeds, batch_size, needs)
        if self._ahead is None or self._ahead.request != request:
            self.close()
            self._ahead = Ahead(self._maker(*request), request)
        return self._delivered(self._ahead.take(key.update))

    def close(self) -> None:
        """End the threads; the next draw begins again."""
        if self._ahead is not None:
            self._ahead.close()
            self._ahead = None

    def best_episodes(self, share: float) -> MappedStore:
        """Return a store of the best episodes, as `TransitionStore.best_episodes`; the files are those of all."""
        chosen = best(self._columns, share)
        columns = select(narrow(self._columns), chosen)
        columns.steps |= {name: array for name, array in self._columns.steps.items() if name in WIDE}
        self._advise("MADV_NORMAL")
        return MappedStore(columns, self._maps, *self._options, self._files, kept=rows_of(self._columns, chosen))

    def _hold(self, columns: Columns) -> None:
        self._view_per_batch = self._robot and not (self._zscored and self.spec.view == "omiga")

    def _advise(self, advice: str) -> None:
        for mapped in self._maps.values() if hasattr(mmap, advice) else ():
            mapped.madvise(getattr(mmap, advice))

    def _seen(self, start: int, stop: int) -> Tensor:
        found = super()._seen(start, stop)
        self._advise("MADV_DONTNEED")  # statistics pass over everything once: let go of what was seen
        return found

    def _take(self, name: str, rows: Tensor) -> Tensor:
        wide = self._columns.steps
        if name == "action":
            action = self._gather(wide["actions"], rows)
            return action if self.spec.discrete else action.clamp(-1.0, 1.0)
        if name == "legal":
            return self._gather(wide["legal_actions"], rows)
        if name == "state" and not self._robot:
            return self._gather(wide["state"], rows)
        found = self._gather(wide["observations" if "observations" in wide else "robot_observation"], rows)
        if self._zscored and (name == "state" or self._view_per_batch):
            return robot_of_omiga(found, self.spec.n_agents)
        return found.flatten(rows.dim())

    def _gather(self, column: NDArray[Any], rows: Tensor) -> Tensor:
        index = rows.numpy() if self._kept is None else self._kept[rows.numpy()]
        return torch.from_numpy(np.take(column, index, axis=0))

    def _maker(self, seeds: Sequence[int], batch_size: int, needs: Needs) -> Callable[[int], Batch]:
        """Return what makes the batch of an update, in any thread."""
        local = threading.local()  # a key holds the numbers that it drew last
        device, gather = self._device, super().draw
        on_cuda = device.type == "cuda"

        def make(update: int) -> Batch:
            if not hasattr(local, "key"):
                local.key = UpdateKey(seeds, device)
                local.stream = torch.cuda.Stream(device) if on_cuda else None  # type: ignore[no-untyped-call]
            # indices are drawn where a resident dataset draws them, beside the updates that are queued there
            with torch.cuda.stream(local.stream) if on_cuda else nullcontext():
                batch = gather(OnHost(local.key.at(update)), batch_size, needs)
            # a copy to CUDA is asynchronous from pinned memory without gaps alone
            return batch.map(lambda x: x.contiguous().pin_memory()) if on_cuda else batch

        return make

    def _delivered(self, batch: Batch) -> Batch:
        return batch if self._device.type == "cpu" else batch.map(lambda x: x.to(self._device, non_blocking=True))


class OnHost:
    """A key whose numbers come to the host, wherever they are drawn."""

    def __init__(self, key: Randomness) -> None:
        self.key = key

    def normal(self, purpose: str, shape: tuple[int, ...]) -> Tensor:
        """Return the key's numbers."""
        return self.key.normal(purpose, shape).cpu()

    def uniform(self, purpose: str, shape: tuple[int, ...]) -> Tensor:
        """Return the key's numbers."""
        return self.key.uniform(purpose, shape).cpu()

    def integers(self, purpose: str, shape: tuple[int, ...], high: int) -> Tensor:
        """Return the key's numbers."""
        return self.key.integers(purpose, shape, high).cpu()

    def fresh(self, purpose: str, shape: tuple[int, ...]) -> Tensor:
        """Return the key's numbers."""
        return self.key.fresh(purpose, shape).cpu()


class Ahead:
    """Makes what the next updates need in threads, at most DEPTH ahead, and hands it over in order.

    Args:
        make: makes it for an update; called in any thread.
        request: what it is made for.
    """

    def __init__(self, make: Callable[[int], Batch], request: tuple[Any, ...]) -> None:
        self.request = request
        self._make = make
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="batches")
        self._coming: deque[tuple[int, Future[Batch]]] = deque()

    def take(self, update: int) -> Batch:
        """Return what was made for `update`. Raises what `make` raised."""
        if not self._coming or self._coming[0][0] != update:  # the first, or not the one after the last
            self._drop()
            self._begin(update)
        _, found = self._coming.popleft()
        while len(self._coming) < DEPTH:
            self._begin(self._coming[-1][0] + 1 if self._coming else update + 1)
        return found.result()

    def close(self) -> None:
        """End the threads; what they are at is finished, the rest dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _begin(self, update: int) -> None:
        self._coming.append((update, self._pool.submit(self._make, update)))

    def _drop(self) -> None:
        for _, future in self._coming:
            future.cancel()
        self._coming.clear()
