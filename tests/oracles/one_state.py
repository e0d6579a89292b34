"""Tasks with one state and one step, where a policy is a distribution of actions, and an oracle value."""

from __future__ import annotations

import torch

from tests.oracles.table import Oracle
from vgm2p.types import Batch, Spec


def spec(agents=1, actions=2, discrete=False) -> Spec:
    """One state (the observation is constant)."""
    return Spec(agents, 1, actions, discrete, None, 1, "native", "bandit")


def batch_of(action, reward=None) -> Batch:
    """A batch of one-step episodes in the one state: action (B, N, A) or (B, N)."""
    rows, agents = action.shape[:2]
    zeros = torch.zeros(1, rows, agents, 1)
    reward = torch.zeros(rows) if reward is None else reward
    return Batch(zeros, action[None], reward[None], zeros, torch.zeros(1, rows), torch.ones(1, rows))


def observe(rows, agents=1):
    return torch.zeros(1, rows, agents, 1)


def noise(rows=2000, width=2):
    return torch.randn(1, rows, 1, width, generator=torch.Generator().manual_seed(5))


def below(limit):
    return lambda value: value < limit


def above(limit):
    return lambda value: value > limit


def near(wanted, by):
    return lambda value: abs(value - wanted) < by


def moment_rows(prefix, samplers, by):
    """Rows for samplers of N(.3, .2^2), each (what, () -> (mean, sd), known mean, known sd): two rows per sampler."""
    return [
        Oracle(
            f"{prefix}{letter}{'ms'[part]}",
            f"N(.3, .2^2), {what}: {('mean', 'sd')[part]}",
            lambda run=run, part=part: run()[part],
            f"{known[part]:g} +- {by:g}",
            near(known[part], by),
        )
        for letter, (what, run, *known) in zip("abcde", samplers, strict=True)
        for part in range(2)
    ]
