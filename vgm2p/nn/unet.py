"""Temporal U-Net over windows of N agents, with attention over agents [MADiff's code; without attention: DoF's].

All agents share the convolutions along time. Rows are (R, S * channels, L) with R = B * N (`vgm2p.nn.conv`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor, nn

from vgm2p.errors import ConfigError
from vgm2p.nn.attention import attend
from vgm2p.nn.conv import Conv, GroupNorm, unfold
from vgm2p.nn.fast.kernels import full_precision
from vgm2p.nn.linear import Linear
from vgm2p.nn.mish import mish
from vgm2p.seeds import SeededLayer

HEADS = 4
TOKENS = 4 * HEADS  # channels must be a multiple of it, because queries have a quarter of them


@dataclass(frozen=True)
class UNetSize:
    """Size of a temporal U-Net.

    Attributes:
        width: number of channels w, a multiple of 8; level j has levels[j] * w channels [MADiff's code: 128].
        levels: factors of the width; L is halved between two levels [MADiff's code: 1, 4, 8].
        kernel: length of the convolutions in steps, odd [MADiff's code: 5].
    """

    width: int = 128
    levels: list[int] = field(default_factory=lambda: [1, 4, 8])
    kernel: int = 5

    def __post_init__(self) -> None:
        """Raise ConfigError for a size that cannot work."""
        if self.width % 8:
            raise ConfigError(f"algo.net.width must be a multiple of 8, got {self.width}")
        if not self.levels:
            raise ConfigError("algo.net.levels is empty; give one factor per level, such as [1,2,4]")
        if any(level * self.width % TOKENS for level in self.levels[1:]):
            raise ConfigError(
                f"algo.net.levels={self.levels}: from the second on, a factor times the width {self.width} must be a "
                f"multiple of {TOKENS}"
            )
        if self.kernel % 2 == 0:
            raise ConfigError(f"algo.net.kernel must be an odd number of steps, got {self.kernel}")

    @property
    def shrinks(self) -> int:
        """The factor by which the window is shortened; L must be a multiple of it."""
        return 1 << (len(self.levels) - 1)


class Numbers(SeededLayer):
    """Single learnt numbers per seed: `value` (S, *shape), which begin at `start`."""

    kind = "numbers"

    def __init__(self, seeds: int, shape: tuple[int, ...], start: float) -> None:
        super().__init__()
        self.start = start
        self.value = nn.Parameter(torch.full((seeds, *shape), start))

    @torch.no_grad()
    def initialise(self, seeds: Sequence[int], role: str) -> None:
        """Fill with the start value."""
        self.value.fill_(self.start)


class Perceptron(nn.Module):
    """Linear layers with Mish between them: x (S, R, sizes[0]) -> (S, R, sizes[-1])."""

    def __init__(self, seeds: int, *sizes: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Linear((seeds,), a, b) for a, b in pairwise(sizes))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layers to x (S, R, in)."""
        for number, layer in enumerate(self.layers):
            x = layer(mish(x, len(x), 0) if number else x)
        return x


class Condition(nn.Module):
    """Embeds noise level and return: c = [f(sin, cos of the level), keep * g(return)] of width 2 * `width`."""

    def __init__(self, seeds: int, width: int) -> None:
        super().__init__()
        self.level = Perceptron(seeds, width, 4 * width, width)
        self.total = Perceptron(seeds, 1, width, 4 * width, width)
        frequencies = torch.exp(torch.arange(width // 2) * (-math.log(1e4) / (width // 2 - 1)))
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.frequencies: Tensor

    def forward(self, level: Tensor, total: Tensor, keep: Tensor) -> Tensor:
        """Map level (S, B), total (S, B, N) and keep (S, B, N) in {0, 1} to mish(c) (S, B * N, 2 * width)."""
        agents, angle = total.shape[2], level.unsqueeze(-1) * self.frequencies
        wave = torch.stack([torch.cat([own.sin(), own.cos()], -1) for own in angle])  # seed by seed: see `mish`
        aim = keep.flatten(1).unsqueeze(-1) * self.total(total.flatten(1).unsqueeze(-1))
        return mish(torch.cat([self.level(wave).repeat_interleave(agents, 1), aim], -1), len(aim), 0)


def spread(c: Tensor) -> Tensor:
    """Reshape (S, R, channels) to a column for rows of any length: (R, S * channels, 1)."""
    return c.transpose(0, 1).flatten(1).unsqueeze(-1)


class Block(nn.Module):
    """mish(norm(conv(x))), all of them along time; rows (R, S * inputs, L) -> (R, S * outputs, L)."""

    def __init__(self, seeds: int, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.seeds = seeds
        self.conv, self.norm = Conv(seeds, inputs, outputs, kernel), GroupNorm(seeds, outputs)

    def forward(self, rows: Tensor) -> Tensor:
        """Apply the block."""
        return mish(self.norm(self.conv(rows)), self.seeds, 1)


class Residual(nn.Module):
    """x + block(block(x) + linear(c)); where the number of channels changes, x passes a pointwise convolution."""

    def __init__(self, seeds: int, inputs: int, outputs: int, condition: int, kernel: int) -> None:
        super().__init__()
        self.first, self.second = Block(seeds, inputs, outputs, kernel), Block(seeds, outputs, outputs, kernel)
        self.shift = Linear((seeds,), condition, outputs)
        self.skip = Conv(seeds, inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, rows: Tensor, c: Tensor) -> Tensor:
        """Map rows (R, S * inputs, L) under c (S, R, condition) to (R, S * outputs, L)."""
        y: Tensor = self.second(self.first(rows) + spread(self.shift(c))) + self.skip(rows)
        return y


class AgentAttention(nn.Module):
    """x + g * attention over the agents, g = 0 at first; an agent is one token, its whole window of features.

    Queries and keys have a quarter of the channels. Neither output layer nor norm [MADiff's code].
    """

    def __init__(self, seeds: int, channels: int, condition: int) -> None:
        super().__init__()
        self.seeds = seeds
        sizes = (channels // 4, channels // 4, channels)
        self.project = nn.ModuleList(Conv(seeds, channels, size, 1) for size in sizes)
        self.shift = nn.ModuleList(Linear((seeds,), condition, size) for size in sizes)
        self.gate = Numbers(seeds, (), 0.0)

    def forward(self, rows: Tensor, c: Tensor, agents: int) -> Tensor:
        """Map rows (B * N, S * channels, L) under c (S, B * N, condition) to rows of the same shape."""
        q, k, v = (
            self.heads(project(rows) + spread(shift(c)), agents)
            for project, shift in zip(self.project, self.shift, strict=True)
        )
        seen = attend(q, k, v)  # (S, B, heads, N, channels / heads * L)
        gated = torch.stack([gate * own for gate, own in zip(self.gate.value, seen, strict=True)])  # as in `mish`
        added = torch.unflatten(gated, -1, (-1, rows.shape[-1]))
        return rows + added.permute(1, 3, 0, 2, 4, 5).reshape(rows.shape)  # (B, N, S, heads, ., L) before

    def heads(self, rows: Tensor, agents: int) -> Tensor:
        """Split rows (B * N, S * channels, L) into tokens (S, B, heads, N, channels / heads * L)."""
        windows = torch.unflatten(rows, 0, (-1, agents))
        split = torch.unflatten(windows, 2, (self.seeds, HEADS, -1))  # (B, N, S, heads, ., L)
        return split.flatten(-2).permute(2, 0, 3, 1, 4)


class UNet(nn.Module):
    """eps(x, k, R): noise in windows x of N agents, given the noise level k and a return R per agent.

    Args:
        seeds: number of seeds S.
        dim: width D of an agent's step.
        size: number of channels and levels.
        attention: whether agents attend to one another (MADiff); without it, each agent has a network of its own input.

    Raises:
        ConfigError: for a last level that attention cannot split.
    """

    def __init__(self, seeds: int, dim: int, size: UNetSize, attention: bool) -> None:
        super().__init__()
        self.seeds, condition = seeds, 2 * size.width
        widths = [size.width * level for level in size.levels]
        if attention and widths[-1] % TOKENS:
            product = f"{size.width} x {size.levels[-1]}"
            raise ConfigError(f"algo.net.width x the last of algo.net.levels is {product}; give a multiple of {TOKENS}")

        def pair(inputs: int, outputs: int) -> nn.ModuleList:
            kinds = ((inputs, outputs), (outputs, outputs))
            return nn.ModuleList(Residual(seeds, a, b, condition, size.kernel) for a, b in kinds)

        steps = list(pairwise(widths))
        self.condition = Condition(seeds, size.width)
        self.down = nn.ModuleList(pair(a, b) for a, b in pairwise([dim, *widths]))
        self.shorten = nn.ModuleList(Conv(seeds, w, w, 3, stride=2) for w in widths[:-1])
        self.middle = pair(widths[-1], widths[-1])
        self.up = nn.ModuleList(pair(2 * b, a) for a, b in reversed(steps))
        self.lengthen = nn.ModuleList(Conv(seeds, a, a, 4, stride=2, up=True) for a, _ in reversed(steps))
        meetings = [widths[-1], *reversed(widths[1:])] if attention else []
        self.meet = nn.ModuleList(AgentAttention(seeds, w, condition) for w in meetings)
        self.last, self.output = Block(seeds, widths[0], widths[0], size.kernel), Conv(seeds, widths[0], dim, 1)

    def forward(self, x: Tensor, level: Tensor, total: Tensor, keep: Tensor) -> Tensor:
        """Return the noise (S, B, L, N, D), in the dtype of x.

        Args:
            x: (S, B, L, N, D) windows; L is a multiple of `size.shrinks`.
            level: (S, B) noise level k, a whole number as a float.
            total: (S, B, N) return to be reached, as a share of its scale.
            keep: (S, B, N), 0 where the network must not know `total`.
        """
        agents = x.shape[3]
        c = self.condition(level, total, keep)
        rows = x.permute(1, 3, 0, 4, 2).flatten(2, 3).flatten(0, 1)  # (B * N, S * D, L)
        skips = []
        for number, pair in enumerate(self.down):
            rows = through(pair, rows, c)
            skips.append(rows)
            rows = self.shorten[number](rows) if number < len(self.shorten) else rows
        rows = self.met(0, through(self.middle, rows, c), c, agents)
        for number, pair in enumerate(self.up):
            skip = self.met(number + 1, skips.pop(), c, agents)
            rows = self.lengthen[number](through(pair, self.beside(rows, skip), c))
        rows = self.last(rows)
        with full_precision(x.device.type):  # output layers keep their precision
            noise = self.output(rows.to(self.output.weight.dtype))
        found = torch.unflatten(unfold(noise, self.seeds), 1, (-1, agents))  # (S, B, N, D, L)
        return found.permute(0, 1, 4, 2, 3).to(x.dtype)

    def met(self, number: int, rows: Tensor, c: Tensor, agents: int) -> Tensor:
        """Let the agents of each window attend to one another, if the network has attention."""
        return self.meet[number](rows, c, agents) if self.meet else rows

    def beside(self, rows: Tensor, skip: Tensor) -> Tensor:
        """Join the channels of two rows (R, S * w, L), seed by seed: (R, S * 2w, L)."""
        pair = [torch.unflatten(each, 1, (self.seeds, -1)) for each in (rows, skip)]
        return torch.cat(pair, 2).flatten(1, 2)


def through(pair: nn.Module, rows: Tensor, c: Tensor) -> Tensor:
    """Apply the two residual blocks of a level."""
    for block in pair:  # type: ignore[attr-defined]
        rows = block(rows, c)
    return rows
