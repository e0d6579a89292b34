"""Randomness as a pure function of (seed, update, purpose): resume needs no generator state.

Numbers of update u are row `u mod ROWS` of one draw from a `torch.Generator` seeded by
`derive(seed, purpose, u // ROWS)`. A draw therefore costs one generator per ROWS updates, every seed owns its stream
(S seeds at once equal S single runs), and scrambling the global generators changes nothing.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

ROWS = 64


def derive(*parts: Hashable) -> int:
    """Hash `parts` to a 63-bit generator seed, the same on every machine and Python."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator(device: torch.device | str, *parts: Hashable) -> torch.Generator:
    """Return a generator on `device` seeded by `derive(*parts)`."""
    return torch.Generator(device).manual_seed(derive(*parts))


class _Rows:
    """Draws of ROWS consecutive indices for a list of streams, kept until the index leaves them."""

    def __init__(self, streams: Sequence[tuple[Hashable, ...]], device: torch.device | str) -> None:
        self.streams = [tuple(stream) for stream in streams]
        self.device = torch.device(device)
        self._drawn: dict[tuple[Hashable, ...], tuple[int, Tensor]] = {}

    def row(self, index: int, kind: str, purpose: str, shape: tuple[int, ...], high: int = 0) -> Tensor:
        """Return the draw of `index` for every stream: (number of streams, *shape)."""
        return self.from_row(index, kind, purpose, shape, high)[:, 0]

    def from_row(self, index: int, kind: str, purpose: str, shape: tuple[int, ...], high: int = 0) -> Tensor:
        """Return the draws of `index` and of what follows in its chunk: (number of streams, at least 1, *shape)."""
        name = (kind, purpose, shape, high)
        chunk, offset = divmod(index, ROWS)
        held = self._drawn.get(name)
        if held is None or held[0] != chunk:
            held = self._drawn[name] = (chunk, self.table(chunk, *name))
        return held[1][:, offset:]

    def table(self, chunk: int, kind: str, purpose: str, shape: tuple[int, ...], high: int) -> Tensor:
        """Return the draws of a whole chunk: (number of streams, ROWS, *shape)."""
        return torch.stack([self._draw(stream, chunk, kind, purpose, shape, high) for stream in self.streams])

    def _draw(
        self, stream: tuple[Hashable, ...], chunk: int, kind: str, purpose: str, shape: tuple[int, ...], high: int
    ) -> Tensor:
        source = generator(self.device, *stream, purpose, chunk)
        size = (ROWS, *shape)
        if kind == "normal":
            return torch.randn(size, generator=source, device=self.device)
        if kind == "uniform":
            return torch.rand(size, generator=source, device=self.device)
        return torch.randint(high, size, generator=source, device=self.device)


class UpdateKey:
    """Random numbers of one update for S seeds; `at(update)` moves it. Implements `types.Randomness`."""

    def __init__(self, seeds: Sequence[int], device: torch.device | str = "cpu") -> None:
        self.seeds = tuple(seeds)
        self.update = 0
        self._rows = _Rows([("update", seed) for seed in self.seeds], device)

    def at(self, update: int) -> UpdateKey:
        """Point the key at `update` and return it."""
        self.update = update
        return self

    def normal(self, purpose: str, shape: tuple[int, ...]) -> Tensor:
        """Return N(0, 1) float32 (S, *shape)."""
        return self._rows.row(self.update, "normal", purpose, tuple(shape))

    def uniform(self, purpose: str, shape: tuple[int, ...]) -> Tensor:
        """Return U[0, 1) float32 (S, *shape)."""
        return self._rows.row(self.update, "uniform", purpose, tuple(shape))

    def integers(self, purpose: str, shape: tuple[int, ...], high: int) -> Tensor:
        """Return int64 in [0, high), (S, *shape)."""
        return self._rows.row(self.update, "integers", purpose, tuple(shape), high)

    def integers_ahead(self, purpose: str, shape: tuple[int, ...], high: int, most: int) -> Tensor:
        """Return `integers` of this update and those of up to most - 1 after it, (1 to most, S, *shape)."""
        return self._rows.from_row(self.update, "integers", purpose, tuple(shape), high)[:, :most].transpose(0, 1)


class StaticKey:
    """The numbers of `UpdateKey`, read from tables at fixed addresses by a position on the device.

    For a captured update: what it reads on replay depends on memory alone. `at` moves the position, and refills the
    tables where a new chunk begins. Purposes must have been asked for once before capture.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device | str) -> None:
        self.seeds = tuple(seeds)
        self._rows = _Rows([("update", seed) for seed in self.seeds], device)
        self._tables: dict[tuple[Any, ...], Tensor] = {}
        self._chunk = 0
        self._position = torch.zeros(1, dtype=torch.int64, device=device)

    def at(self, update: int) -> StaticKey:
        """Point the key at `update` and return it."""
        chunk, offset = divmod(update, ROWS)
        if chunk != self._chunk:
            self._chunk = chunk
            for name, table in self._tables.items():
                table.copy_(self._rows.table(chunk, *name))
        self._position.fill_(offset)
        return self

    def normal(self, purpose: str, shape: tuple[int, ...]) -> Tensor:
        """Return N(0, 1) float32 (S, *shape)."""
        return self._read("normal", purpose, tuple(shape), 0)

    def uniform(self, purpose: str, shape: tuple[int, ...]) -> Tensor:
        """Return U[0, 1) float32 (S, *shape)."""
        return self._read("uniform", purpose, tuple(shape), 0)

    def integers(self, purpose: str, shape: tuple[int, ...], high: int) -> Tensor:
        """Return int64 in [0, high), (S, *shape)."""
        return self._read("integers", purpose, tuple(shape), high)

    def _read(self, *name: Any) -> Tensor:
        if name not in self._tables:
            self._tables[name] = self._rows.table(self._chunk, *name).clone()
        return self._tables[name].index_select(1, self._position).squeeze(1)


class ActKey:
    """Random numbers of one step of E evaluation episodes, keyed (seed, update, episode, step).

    Shapes passed to it begin with E, the episode axis; row e depends on `episodes[e]` alone, so that how episodes are
    grouped, which of them have finished and how often they are repeated changes nothing.
    """

    def __init__(
        self, seeds: Sequence[int], update: int, episodes: Sequence[int], device: torch.device | str = "cpu"
    ) -> None:
        self.seeds, self.episodes = tuple(seeds), tuple(episodes)
        self.step = 0
        streams = [("act", seed, update, episode) for seed in self.seeds for episode in self.episodes]
        self._rows = _Rows(streams, device)

    def at(self, step: int) -> ActKey:
        """Point the key at `step` of every episode and return it."""
        self.step = step
        return self

    def normal(self, purpose: str, shape: tuple[int, ...]) -> Tensor:
        """Return N(0, 1) float32 (S, E, ...) for shape (E, ...)."""
        return self._split(self._rows.row(self.step, "normal", purpose, self._inner(shape)))

    def uniform(self, purpose: str, shape: tuple[int, ...]) -> Tensor:
        """Return U[0, 1) float32 (S, E, ...) for shape (E, ...)."""
        return self._split(self._rows.row(self.step, "uniform", purpose, self._inner(shape)))

    def integers(self, purpose: str, shape: tuple[int, ...], high: int) -> Tensor:
        """Return int64 in [0, high), (S, E, ...) for shape (E, ...)."""
        return self._split(self._rows.row(self.step, "integers", purpose, self._inner(shape), high))

    def _inner(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if shape[0] != len(self.episodes):
            raise ValueError(f"shape {shape} must begin with the {len(self.episodes)} episodes of this key")
        return tuple(shape[1:])

    def _split(self, rows: Tensor) -> Tensor:
        return rows.unflatten(0, (len(self.seeds), len(self.episodes)))


def initial(shape: tuple[int, ...], limit: float, seed: int, name: str) -> Tensor:
    """Return U(-limit, limit) float32 of `shape` that depends on (seed, name) alone."""
    source = generator("cpu", "init", seed, name)
    return (torch.rand(shape, generator=source) * 2 - 1) * limit


def glorot_limit(fan_in: int, fan_out: int) -> float:
    """Return the Glorot uniform bound sqrt(6 / (fan_in + fan_out)) (flax `variance_scaling(1, fan_avg, uniform)`)."""
    return math.sqrt(6.0 / (fan_in + fan_out))
