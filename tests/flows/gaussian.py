"""Samplers on Gaussian data with the exact noise: each step is affine, so mean and deviation follow without sampling."""

import math

import torch

F64 = torch.float64


def exact_noise(schedule, m=0.3, s=0.2):
    """E[eps | x_k] for data N(m, s^2)."""

    def model(x, level):
        abar = schedule.abar[level]
        return math.sqrt(1 - abar) * (x - math.sqrt(abar) * m) / (abar * s**2 + 1 - abar)

    return model


def moments(schedule, grid, start=1.0, ancestral=False):
    """Mean and standard deviation of samples from start * N(0, 1).

    Row 0 has no noise at all. Each other row has one unit of one noise: the start, or that of one DDPM step.
    """
    sources = 1 + len(grid) if ancestral else 1
    unit = torch.eye(1 + sources, dtype=F64)
    steps = {level: unit[2 + i] for i, level in enumerate(grid)} if ancestral else {}
    noise = steps.__getitem__ if ancestral else None
    ends = schedule.sample(exact_noise(schedule), start * unit[1], grid, None, noise)
    return float(ends[0]), float((ends[1:] - ends[0]).norm())
