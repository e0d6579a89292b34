"""Gaussian diffusion: learn the noise of a noisy point; sample with DDIM or DDPM.

A point at level k is `x_k = sqrt(abar_k) x_0 + sqrt(1 - abar_k) eps`. Level 0 is almost data, level K - 1 almost noise.
`Schedule` holds the levels. Sources: DDPM (arXiv 2006.11239), squared-cosine levels (arXiv 2102.09672), DDIM (arXiv
2010.02502).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from vgm2p.errors import ConfigError

NoiseModel = Callable[[Tensor, int], Tensor]  # x (S, ...) and its level -> predicted noise (S, ...)
DATA = -1  # the level of a point without noise
LARGEST_BETA = 0.999


def squared_cosine(levels: int) -> list[float]:
    """Return abar_0, ..., abar_{K-1}: the product of 1 - beta_k [arXiv 2102.09672, Eq. 17].

    `beta_k = min(1 - f((k + 1) / K) / f(k / K), 0.999)` with `f(u) = cos^2((u + 0.008) / 1.008 * pi / 2)`.
    """

    def f(u: float) -> float:
        return math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2

    abar, found = 1.0, []
    for k in range(levels):
        abar *= 1.0 - min(1.0 - f((k + 1) / levels) / f(k / levels), LARGEST_BETA)
        found.append(abar)
    return found


class Schedule(nn.Module):
    """K noise levels with squared-cosine betas.

    The samplers use Python floats, because there all rows have the same level. Training reads buffers, because each row
    has its own level.

    Args:
        levels: number K of levels.
    """

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels = levels
        self.abar = squared_cosine(levels)
        exact = torch.tensor(self.abar, dtype=torch.float64)
        self.register_buffer("signal", exact.sqrt().float(), persistent=False)  # sqrt(abar), (K,)
        self.register_buffer("noise", (1.0 - exact).sqrt().float(), persistent=False)  # sqrt(1 - abar), (K,)
        self.signal: Tensor
        self.noise: Tensor

    def diffuse(self, x0: Tensor, eps: Tensor, level: Tensor) -> Tensor:
        """Return x_k = sqrt(abar_k) x0 + sqrt(1 - abar_k) eps, of the shape of x0.

        Args:
            x0: data: actions (S, B, N, A), or windows (S, B, L, N, D).
            eps: noise of the same shape.
            level: int64 in [0, K), with the first axes of x0: (S, B, N) for actions, (S, B) for windows.
        """
        shape = (*level.shape, *[1] * (x0.dim() - level.dim()))
        return self.signal[level].reshape(shape) * x0 + self.noise[level].reshape(shape) * eps

    def grid(self, steps: int, spacing: Literal["trailing", "leading"] = "trailing") -> list[int]:
        """Return the levels of a sampler with `steps` steps, in falling order.

        `trailing` begins at level K - 1; `leading` ends at level 0 and has gaps of K // steps [diffusers].

        Raises:
            ConfigError: if there are more steps than levels, or fewer than one.
        """
        if not 1 <= steps <= self.levels:
            raise ConfigError(
                f"a diffusion policy with {self.levels} levels cannot take {steps} sampling steps; "
                f"use acting.steps from 1 to {self.levels}"
            )
        if spacing == "leading":
            gap = self.levels // steps
            return [gap * i for i in reversed(range(steps))]
        return [round(self.levels * (steps - i) / steps) - 1 for i in range(steps)]

    def x0_of(self, x: Tensor, eps: Tensor, level: int, clip: float | None = None) -> Tensor:
        """Return the data that x (S, ...) at `level` holds if its noise is eps (S, ...), clipped to [-clip, clip]."""
        abar = self._abar(level)
        x0 = (x - math.sqrt(1.0 - abar) * eps) / math.sqrt(abar)
        return x0 if clip is None else x0.clamp(-clip, clip)

    def ddim(self, x: Tensor, eps: Tensor, level: int, to: int, clip: float | None = None) -> Tensor:
        """Take a deterministic step from `level` to the lower level `to` [DDIM Eq. 12 with sigma = 0].

        Only the predicted data are clipped; the direction keeps eps (S, ...).
        """
        abar = self._abar(to)
        return math.sqrt(abar) * self.x0_of(x, eps, level, clip) + math.sqrt(1.0 - abar) * eps

    def ddpm(self, x: Tensor, eps: Tensor, level: int, to: int, z: Tensor, clip: float | None = None) -> Tensor:
        """Draw x_to from q(x_to | x, x0) with noise z (S, ...) [DDPM Eq. 6, 7; between any two levels]."""
        here, there = self._abar(level), self._abar(to)
        kept = here / there  # 1 - beta, if `to` is the next lower level
        mean_x0 = math.sqrt(there) * (1.0 - kept) / (1.0 - here)
        mean_x = math.sqrt(kept) * (1.0 - there) / (1.0 - here)
        deviation = math.sqrt((1.0 - there) / (1.0 - here) * (1.0 - kept))
        return mean_x0 * self.x0_of(x, eps, level, clip) + mean_x * x + deviation * z

    def sample(
        self,
        model: NoiseModel,
        z: Tensor,
        grid: Sequence[int],
        clip: float | None = 1.0,
        noise: Callable[[int], Tensor] | None = None,
    ) -> Tensor:
        """Map start noise z (S, ...) to data (S, ...): one step from each level of `grid` to the next one.

        Args:
            model: predicts the noise of x (S, ...) at a level. It may guide, and it may replace known parts of x.
            z: start noise.
            grid: levels in falling order (`grid`).
            clip: bound of the predicted data in every step; None: no bound.
            noise: level -> fresh N(0, 1) (S, ...): DDPM. None: DDIM, without further noise.
        """
        x = z
        for level, to in pairwise([*grid, DATA]):
            eps = model(x, level)
            if noise is None:
                x = self.ddim(x, eps, level, to, clip)
            else:
                x = self.ddpm(x, eps, level, to, noise(level), clip)
        return x

    def _abar(self, level: int) -> float:
        return 1.0 if level == DATA else self.abar[level]
