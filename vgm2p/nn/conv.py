"""Convolutions along time and group norms, with the seed axis.

Rows have the shape (R, S * channels, L). The channels of a seed are adjacent, and a grouped convolution keeps the seeds
apart. On a CPU, convolutions run seed by seed: in a grouped convolution, oneDNN adds in another order, so S seeds would
differ from S single runs in the last bits.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vgm2p.rng import initial
from vgm2p.seeds import SeededLayer


def fold(x: Tensor) -> Tensor:
    """Reshape (S, R, channels, L) to the rows of these layers, (R, S * channels, L)."""
    return x.transpose(0, 1).flatten(1, 2)


def unfold(rows: Tensor, seeds: int) -> Tensor:
    """Undo `fold`: (R, S * channels, L) -> (S, R, channels, L)."""
    return torch.unflatten(rows, 1, (seeds, -1)).transpose(0, 1)


class Conv(SeededLayer):
    """A convolution along time for S seeds.

    Args:
        seeds: number of seeds S.
        inputs: number of input channels per seed.
        outputs: number of output channels per seed.
        kernel: length of the kernel in steps; an odd length keeps L at stride 1.
        stride: number of steps per output; with `up`, number of outputs per step.
        up: whether the convolution is transposed.
    """

    kind = "conv"

    def __init__(self, seeds: int, inputs: int, outputs: int, kernel: int, stride: int = 1, up: bool = False) -> None:
        super().__init__()
        self.seeds, self.stride, self.up, self.padding = seeds, stride, up, (kernel - 1) // 2
        self.fan_in = (outputs if up else inputs) * kernel  # the same as in torch's own layers
        shape = (inputs, outputs, kernel) if up else (outputs, inputs, kernel)
        self.weight = nn.Parameter(torch.empty(seeds, *shape))
        self.bias = nn.Parameter(torch.empty(seeds, outputs))

    @torch.no_grad()
    def initialise(self, seeds: Sequence[int], role: str) -> None:
        """Fill with U(-1 / sqrt(fan_in), 1 / sqrt(fan_in)), torch's default, from (seeds[s], role)."""
        for name, parameter in self.named_parameters():
            for s, seed in enumerate(seeds):
                parameter[s] = initial(tuple(parameter.shape[1:]), self.fan_in**-0.5, seed, f"{role}.{name}")

    def forward(self, rows: Tensor) -> Tensor:
        """Map rows (R, S * inputs, L) to (R, S * outputs, L'), where L' depends on kernel and stride."""
        if rows.device.type != "cpu":
            return self.convolve(rows, self.weight.flatten(0, 1), self.bias.flatten(), self.seeds)
        seeds = zip(rows.chunk(self.seeds, 1), self.weight, self.bias, strict=True)
        return torch.cat([self.convolve(x, weight, bias, 1) for x, weight, bias in seeds], 1)

    def convolve(self, rows: Tensor, weight: Tensor, bias: Tensor, groups: int) -> Tensor:
        """Convolve the rows of `groups` seeds, whose weights (groups * a, b, kernel) and biases lie on axis 0."""
        if self.up:
            return F.conv_transpose1d(rows, weight, bias, self.stride, self.padding, groups=groups)
        return F.conv1d(rows, weight, bias, self.stride, self.padding, groups=groups)


class GroupNorm(SeededLayer):
    """Group norm of the channels of every seed.

    Args:
        seeds: number of seeds S.
        channels: number of channels per seed; a multiple of `groups`.
        groups: number of groups per seed.

    Raises:
        ValueError: if `channels` is not a multiple of `groups`.
    """

    kind = "group_norm"

    def __init__(self, seeds: int, channels: int, groups: int = 8) -> None:
        super().__init__()
        if channels % groups:
            raise ValueError(f"{channels} channels are not a multiple of {groups} groups; choose another width")
        self.groups = seeds * groups
        self.weight = nn.Parameter(torch.ones(seeds, channels))
        self.bias = nn.Parameter(torch.zeros(seeds, channels))

    @torch.no_grad()
    def initialise(self, seeds: Sequence[int], role: str) -> None:
        """Fill with scales of one and shifts of zero, for every seed."""
        self.weight.fill_(1.0)
        self.bias.zero_()

    def forward(self, rows: Tensor) -> Tensor:
        """Normalise rows (R, S * channels, L)."""
        return F.group_norm(rows, self.groups, self.weight.flatten(), self.bias.flatten())
