"""Random numbers as a pure function of (seed, update, purpose): a resumed run needs no generator state.

A `torch.Generator`, seeded by `derive("update", seed, purpose, chunk)`, fills a table of R rows. Row r holds the
numbers of update chunk * R + r. R is `rows(shape)`: 64 for small shapes, because making a generator for every update
would be slow. Every training seed has its own stream, so S seeds together draw the same numbers as S single runs.
Torch's global generators are not used.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

ROWS = 64
TABLE = 2**22  # largest count of numbers in the table of one seed: 16 MiB of float32, 32 MiB of int64
EPISODE_TABLE = 2**17  # the same for one episode; smaller, because about a hundred episodes run together


def rows(shape: Sequence[int], numbers: int = TABLE) -> int:
    """Return how many draws of `shape` one table holds: at most 64 and at most `numbers` numbers, but at least one."""
    return max(1, min(ROWS, numbers // max(1, math.prod(shape))))


def derive(*parts: Hashable) -> int:
    """Hash `parts` to a 63-bit generator seed. It is the same on every machine and in every Python version."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator(device: torch.device | str, *parts: Hashable) -> torch.Generator:
    """Return a generator on `device` seeded by `derive(*parts)`."""
    return torch.Generator(device).manual_seed(derive(*parts))


class _Tables:
    """Makes and fills tables of random numbers for a list of streams. Row r belongs to index chunk * rows + r.

    The name of a table is (kind, purpose, shape, high). A table of kind `fresh` has one row.
    """

    def __init__(self, streams: Sequence[tuple[Hashable, ...]], device: torch.device | str, numbers: int) -> None:
        self.streams = [tuple(stream) for stream in streams]
        self.device = torch.device(device)
        self.numbers = numbers

    def rows(self, name: tuple[Any, ...]) -> int:
        """Return the number of rows of the table with this name."""
        return 1 if name[0] == "fresh" else rows(name[2], self.numbers)

    def new(self, chunk: int, name: tuple[Any, ...]) -> Tensor:
        """Return a new table with the numbers of `chunk`: (number of streams, rows, *shape)."""
        dtype = torch.int64 if name[0] == "integers" else torch.float32
        table = torch.empty((len(self.streams), self.rows(name), *name[2]), dtype=dtype, device=self.device)
        self.fill(table, chunk, name)
        return table

    def fill(self, table: Tensor, chunk: int, name: tuple[Any, ...]) -> None:
        """Overwrite a table with the numbers of `chunk`."""
        kind, purpose, _, high = name
        for stream, part in zip(self.streams, table, strict=True):
            parts = (*stream, "fresh", purpose, chunk) if kind == "fresh" else (*stream, purpose, chunk)
            source = generator(self.device, *parts)
            if kind == "integers":
                part.random_(0, high, generator=source)
            elif kind == "uniform":
                part.uniform_(generator=source)
            else:
                part.normal_(generator=source)


class _Key:
    """Base of all keys: the kinds of random numbers, and the rule "each purpose once per index".

    The index is an update or a step. A second request for a purpose would return the same numbers, or overlapping ones.
    """

    index_name: str  # "update" or "step", for the error message

    def __init__(self) -> None:
        self._index = 0
        self._asked: set[str] = set()

    def normal(self, purpose: str, shape: tuple[int, ...]) -> Tensor:
        """Return N(0, 1) float32 (S, *shape). Raises ValueError if `purpose` was already used since the last `at`."""
        return self._numbers("normal", purpose, shape)

    def uniform(self, purpose: str, shape: tuple[int, ...]) -> Tensor:
        """Return U[0, 1) float32 (S, *shape). Raises as `normal`."""
        return self._numbers("uniform", purpose, shape)

    def integers(self, purpose: str, shape: tuple[int, ...], high: int) -> Tensor:
        """Return int64 in [0, high), (S, *shape). Raises as `normal`."""
        return self._numbers("integers", purpose, shape, high)

    def fresh(self, purpose: str, shape: tuple[int, ...]) -> Tensor:
        """Return N(0, 1) float32 (S, *shape) that is drawn for this index only and not kept. Raises as `normal`.

        Use it for large draws with many purposes, such as the noise of each step of ancestral sampling.
        """
        return self._numbers("fresh", purpose, shape)

    def _move(self, index: int) -> None:
        self._index = index
        self._asked.clear()

    def _once(self, purpose: str) -> None:
        if purpose in self._asked:
            raise ValueError(
                f"random numbers for '{purpose}' were asked for twice in {self.index_name} {self._index}; "
                "give the second draw another purpose name, or call `at` before the next one"
            )
        self._asked.add(purpose)

    def _numbers(self, kind: str, purpose: str, shape: tuple[int, ...], high: int = 0) -> Tensor:
        self._once(purpose)
        return self._read((kind, purpose, tuple(shape), high))

    def _read(self, name: tuple[Any, ...]) -> Tensor:
        """Return the numbers (S, *shape) of the present index."""
        raise NotImplementedError


class _Drawing(_Key):
    """A key that draws a new table when the index leaves the present one."""

    def __init__(self, tables: _Tables) -> None:
        super().__init__()
        self._tables = tables
        self._drawn: dict[tuple[Any, ...], tuple[int, Tensor]] = {}

    def _read(self, name: tuple[Any, ...]) -> Tensor:
        return self._from_here(name)[:, 0]

    def _from_here(self, name: tuple[Any, ...]) -> Tensor:
        """Return the numbers of the present index and of the later ones in its table: (streams, at least 1, *shape)."""
        chunk, offset = divmod(self._index, self._tables.rows(name))
        if name[0] == "fresh":
            return self._tables.new(chunk, name)
        held = self._drawn.get(name)
        if held is None or held[0] != chunk:
            held = self._drawn[name] = (chunk, self._tables.new(chunk, name))
        return held[1][:, offset:]


class UpdateKey(_Drawing):
    """Random numbers of one update for S seeds; `at(update)` chooses the update. Implements `types.Randomness`.

    Numbers of another `stream` are independent of those of training.
    """

    index_name = "update"

    def __init__(self, seeds: Sequence[int], device: torch.device | str = "cpu", stream: str = "update") -> None:
        self.seeds = tuple(seeds)
        super().__init__(_Tables([(stream, seed) for seed in self.seeds], device, TABLE))

    @property
    def update(self) -> int:
        """The update that the key points at."""
        return self._index

    def at(self, update: int) -> UpdateKey:
        """Point the key at `update` and return it."""
        self._move(update)
        return self

    def integers_ahead(self, purpose: str, shape: tuple[int, ...], high: int, most: int) -> Tensor:
        """Return `integers` of this update and the next ones, `most` updates or fewer: (1 to most, S, *shape)."""
        self._once(purpose)
        return self._from_here(("integers", purpose, tuple(shape), high))[:, :most].transpose(0, 1)


class StaticKey(_Key):
    """The same numbers as `UpdateKey`, for an update that is captured as a CUDA graph.

    A replayed graph reads fixed addresses. Therefore a table keeps its memory, and a tensor on the device holds the row
    to read. `at` sets this row, and fills a table again when its next chunk begins. Every purpose must be used once
    before the capture, because its table is made then.
    """

    index_name = "update"

    def __init__(self, seeds: Sequence[int], device: torch.device | str) -> None:
        super().__init__()
        self.seeds = tuple(seeds)
        self._source = _Tables([("update", seed) for seed in self.seeds], device, TABLE)
        self._tables: dict[tuple[Any, ...], Tensor] = {}
        self._positions: dict[int, Tensor] = {}  # number of rows of a table -> row of the present update, (1,) int64

    def at(self, update: int) -> StaticKey:
        """Point the key at `update` and return it."""
        before = self._index
        self._move(update)
        for name, table in self._tables.items():
            chunk = update // table.shape[1]
            if chunk != before // table.shape[1]:
                self._source.fill(table, chunk, name)
        for count, position in self._positions.items():
            position.fill_(update % count)
        return self

    def _read(self, name: tuple[Any, ...]) -> Tensor:
        count = self._source.rows(name)
        if name not in self._tables:
            self._tables[name] = self._source.new(self._index // count, name)
        if count not in self._positions:
            self._positions[count] = torch.full((1,), self._index % count, device=self._source.device)
        return self._tables[name].index_select(1, self._positions[count]).squeeze(1)


class ActKey(_Drawing):
    """Random numbers of one step of E evaluation episodes: a function of (seed, update, episode, step).

    Every requested shape begins with the episode axis E. Row e depends on `episodes[e]` only. So the grouping of the
    episodes, the end of other episodes, and repetitions do not change the numbers.
    """

    index_name = "step"

    def __init__(
        self, seeds: Sequence[int], update: int, episodes: Sequence[int], device: torch.device | str = "cpu"
    ) -> None:
        self.seeds, self.episodes = tuple(seeds), tuple(episodes)
        streams = [("act", seed, update, episode) for seed in self.seeds for episode in self.episodes]
        super().__init__(_Tables(streams, device, EPISODE_TABLE))

    def at(self, step: int) -> ActKey:
        """Point the key at step `step` of all episodes and return it."""
        self._move(step)
        return self

    def _read(self, name: tuple[Any, ...]) -> Tensor:
        kind, purpose, shape, high = name
        if shape[0] != len(self.episodes):
            raise ValueError(f"shape {shape} must begin with the {len(self.episodes)} episodes of this key")
        found = super()._read((kind, purpose, shape[1:], high))
        return torch.unflatten(found, 0, (len(self.seeds), len(self.episodes)))


def initial(shape: tuple[int, ...], limit: float, seed: int, name: str) -> Tensor:
    """Return initial weights U(-limit, limit), float32 of `shape`, as a function of (seed, name) only."""
    source = generator("cpu", "init", seed, name)
    return (torch.rand(shape, generator=source) * 2 - 1) * limit


def glorot_limit(fan_in: int, fan_out: int) -> float:
    """Return the Glorot uniform bound sqrt(6 / (fan_in + fan_out)) (flax `variance_scaling(1, fan_avg, uniform)`)."""
    return math.sqrt(6.0 / (fan_in + fan_out))
