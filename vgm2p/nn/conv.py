"""Convolutions along time and group norms with the seed axis.

Their rows are (R, S * channels, L): the channels of seed s lie side by side, and groups keep the seeds apart. On a CPU
convolutions run seed by seed: oneDNN chooses another order of sums for a grouped one, and S seeds would differ in the
last bits from S single runs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vgm2p.rng import initial
from vgm2p.seeds import SeededLayer


def fold(x: Tensor) -> Tensor:
    """Bring (S, R, channels, L) to the rows of these layers, (R, S * channels, L)."""
    return x.transpose(0, 1).flatten(1, 2)


def unfold(rows: Tensor, seeds: int) -> Tensor:
    """Undo `fold`: (R, S * channels, L) -> (S, R, channels, L)."""
    return torch.unflatten(rows, 1, (seeds, -1)).transpose(0, 1)


class Conv(SeededLayer):
    """A convolution along time, S networks at once.

    Args:
        seeds: S.
        inputs: channels in.
        outputs: channels out.
        kernel: length; odd lengths keep L at stride 1.
        stride: every so many steps one output; with `up`, so many outputs per step.
        up: transposed convolution.
    """

    kind = "conv"

    def __init__(self, seeds: int, inputs: int, outputs: int, kernel: int, stride: int = 1, up: bool = False) -> None:
        super().__init__()
        self.seeds, self.stride, self.up, self.padding = seeds, stride, up, (kernel - 1) // 2
        self.fan_in = (outputs if up else inputs) * kernel  # as torch counts it for its own layers
        shape = (inputs, outputs, kernel) if up else (outputs, inputs, kernel)
        self.weight = nn.Parameter(torch.empty(seeds, *shape))
        self.bias = nn.Parameter(torch.empty(seeds, outputs))

    @torch.no_grad()
    def initialise(self, seeds: Sequence[int], role: str) -> None:
        """Fill with U(-1 / sqrt(fan in), 1 / sqrt(fan in)), torch's default, from (seeds[s], role)."""
        for name, parameter in self.named_parameters():
            for s, seed in enumerate(seeds):
                parameter[s] = initial(tuple(parameter.shape[1:]), self.fan_in**-0.5, seed, f"{role}.{name}")

    def forward(self, rows: Tensor) -> Tensor:
        """Map rows (R, S * inputs, L) to (R, S * outputs, L')."""
        if rows.device.type != "cpu":
            return self.convolve(rows, self.weight.flatten(0, 1), self.bias.flatten(), self.seeds)
        seeds = zip(rows.chunk(self.seeds, 1), self.weight, self.bias, strict=True)
        return torch.cat([self.convolve(x, weight, bias, 1) for x, weight, bias in seeds], 1)

    def convolve(self, rows: Tensor, weight: Tensor, bias: Tensor, groups: int) -> Tensor:
        """Convolve rows of `groups` seeds with weight (groups * a, b, kernel) and bias (groups * outputs,)."""
        if self.up:
            return F.conv_transpose1d(rows, weight, bias, self.stride, self.padding, groups=groups)
        return F.conv1d(rows, weight, bias, self.stride, self.padding, groups=groups)


class GroupNorm(SeededLayer):
    """Group norm of the channels of every seed, S networks at once.

    Args:
        seeds: S.
        channels: of one seed; a multiple of `groups`.
        groups: of channels of one seed.
    """

    kind = "group_norm"

    def __init__(self, seeds: int, channels: int, groups: int = 8) -> None:
        super().__init__()
        if channels % groups:
            raise ValueError(f"{channels} channels are no multiple of {groups} groups; choose another width")
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
