"""The return that a planner aims at: its scale, its target, and what is left of it in an episode [MADiff's code]."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from vgm2p.errors import ConfigError
from vgm2p.types import Survey

QUANTILE = 0.99


@dataclass(frozen=True)
class GoalSettings:
    """Settings of the return that a plan is generated for.

    Attributes:
        target: return to aim at, as a share of the scale; may be negative [MADiff's code: 1; 0.9 for some robots].
        scale: return that counts as 1; None: the 99 % quantile of the data's returns-to-go [MADiff's code: by hand].
        rtg: whether rewards that were received are taken from the target (then execution needs the team's reward).
        dropout: share of the agents from which the return is hidden in training [MADiff's code: 0.25].
        guidance: weight w in eps_0 + w (eps_R - eps_0); 1: the network with the return alone [MADiff's code: 1.2].
    """

    target: float = field(default=1.0, metadata={"least": -math.inf})
    scale: float | None = None
    rtg: bool = False
    dropout: float = 0.25
    guidance: float = 1.2


class Goal(nn.Module):
    """The scale of the returns, and returns as shares of it.

    Args:
        settings: target and scale.
        gamma: discount of the returns.

    Raises:
        ConfigError: for a scale of 0, a share outside [0, 1], or `rtg` without a discount to divide by.
    """

    def __init__(self, settings: GoalSettings, gamma: float) -> None:
        super().__init__()
        if settings.scale == 0.0:
            raise ConfigError("algo.goal.scale must be above 0; null takes it from the data")
        if settings.dropout > 1.0:
            raise ConfigError(f"algo.goal.dropout is a share, at most 1, got {settings.dropout}")
        if settings.rtg and gamma == 0.0:
            raise ConfigError("algo.goal.rtg=true divides by algo.gamma; it must be above 0")
        self.settings, self.gamma = settings, gamma
        self.register_buffer("scale", torch.tensor(settings.scale or 1.0))
        self.scale: Tensor

    def fit(self, survey: Survey) -> None:
        """Take the scale from the data, unless the settings give it. A scale of 0 becomes 1."""
        if self.settings.scale is None:
            found = survey.return_quantile(QUANTILE)
            self.scale.copy_(torch.where(found.abs() > 1e-6, found, torch.ones_like(found)))

    def first(self, like: Tensor) -> Tensor:
        """Return the target at the start of episodes, of the shape of `like`."""
        return torch.full_like(like, self.settings.target)

    def left(self, share: Tensor, reward: Tensor | None) -> Tensor:
        """Return what is left of a return (S, E) after the reward (S, E) of a step: ((R scale - r) / gamma) / scale.

        Raises:
            ConfigError: if the caller has no rewards.
        """
        if not self.settings.rtg:
            return share
        if reward is None:
            raise ConfigError("algo.goal.rtg=true needs the team's reward of every step; pass it to act, or use false")
        return (share - reward / self.scale) / self.gamma
