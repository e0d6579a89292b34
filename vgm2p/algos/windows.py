"""Windows of a planner: whose observations a plan knows, and which steps are known [MADiff's code]."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vgm2p.algos.contract import Algorithm
from vgm2p.algos.goal import Goal
from vgm2p.errors import ConfigError
from vgm2p.nn.fast.kernels import one_hot
from vgm2p.types import Randomness


@dataclass(frozen=True)
class Given:
    """The known part of windows (S, B, L, N, D).

    Attributes:
        fixed: (S, B, L, N, 1) bool, the steps that are not generated.
        values: (S, B, L, N, D) what stands there: observations of visible agents, zeros for the past of the others.
    """

    fixed: Tensor
    values: Tensor

    def impose(self, x: Tensor) -> Tensor:
        """Return windows x (S, B, L, N, D) with the known part in its place."""
        return torch.where(self.fixed, self.values, x)

    @property
    def free(self) -> Tensor:
        """(S, B, L, N) 1 at the steps that are generated, and so count in the loss; else 0."""
        return (~self.fixed).squeeze(-1).to(self.values.dtype)


def given(window: Tensor, visible: Tensor, now: int) -> Given:
    """Return what is known of a window in which the present is step `now`.

    A visible agent is known up to the present. The past of another agent is hidden, and its present is generated.

    Args:
        window: (S, B, L, N, D).
        visible: (S, B, N) bool.
        now: position of the present step.
    """
    t = torch.arange(window.shape[2], device=window.device)[:, None]
    fixed = (t < now) | ((t == now) & visible.unsqueeze(2))
    return Given(fixed.unsqueeze(-1), window.masked_fill(~visible[:, :, None, :, None], 0.0))


@dataclass(frozen=True)
class Views:
    """Whose observations a plan knows.

    Attributes:
        one: whether every agent makes a plan of its own, from its observations alone. If not, there is one plan, from
            the observations of all.
        agents: number of agents N.
    """

    one: bool
    agents: int

    @property
    def plans(self) -> int:
        """Number of plans per episode."""
        return self.agents if self.one else 1

    def drawn(self, window: Tensor, key: Randomness) -> Tensor:
        """Return for training who is visible in windows (S, B, L, N, D), (S, B, N) bool: all, or one agent per row."""
        S, B, _, N, _ = window.shape
        if self.one:
            return one_hot(key.integers("visible", (B,), N), N, torch.bool)
        return torch.ones((S, B, N), dtype=torch.bool, device=window.device)

    def visible(self, window: Tensor) -> Tensor:
        """Return who is visible in the windows (S, E * plans, L, N, D) that `spread` made: (S, E * plans, N) bool."""
        S, rows, _, N, _ = window.shape
        own = torch.eye(N, dtype=torch.bool, device=window.device) if self.one else window.new_ones((1, N)).bool()
        return own.repeat(rows // self.plans, 1).expand(S, -1, -1)

    def spread(self, x: Tensor) -> Tensor:
        """Repeat what belongs to an episode for each of its plans: (S, E, ...) -> (S, E * plans, ...)."""
        return x.repeat_interleave(self.plans, 1)

    def own(self, x: Tensor) -> Tensor:
        """Return every agent's part of the plan that counts for it: (S, E * plans, N, D) -> (S, E, N, D)."""
        split = torch.unflatten(x, 1, (-1, self.plans))
        return split.diagonal(dim1=2, dim2=3).movedim(-1, 2) if self.one else split[:, :, 0]

    def noise(self, key: Randomness, purpose: str, like: Tensor, episodes: int, shared: bool) -> Tensor:
        """Return N(0, 1) for plans: (S, E, plans, L, N, D), for windows `like` (S, any, L, N, D) and E = `episodes`.

        With `shared`, the agents use the same numbers, which they can draw from a common seed.
        """
        S, _, L, N, D = like.shape
        plans, agents = (1 if shared else self.plans, 1 if shared and not self.one else N)
        drawn = key.fresh(purpose, (episodes, plans, L, agents, D)).to(like.dtype)
        return drawn.expand(S, episodes, self.plans, L, N, D)


class Windowed(Algorithm):
    """Base of planners: the memory holds encoded observations (S, E, history - 1, N, D), and the return left (S, E).

    Attributes:
        goal: the return to aim at.
    """

    remembers_actions = False
    goal: Goal

    def describe(self, obs: Tensor) -> Tensor:
        """Return encoded observations (..., N, D) for observations (..., N, O)."""
        raise NotImplementedError

    def amend(self, memory: Any, action: Tensor) -> Any:
        """No action is remembered."""
        return memory

    def recall(self, obs: Tensor, past_obs: Tensor, past_action: Tensor, past_seen: Tensor) -> Any:
        """Return the memory of `act`; steps before the start of the episode are copies of its first observation."""
        every, steps = torch.cat([past_obs, obs.unsqueeze(2)], 2), past_obs.shape[2]
        start = (steps - past_seen.sum(-1, keepdim=True)).expand_as(past_seen)
        own = torch.where(past_seen > 0, torch.arange(steps, device=obs.device), start)
        rows = own.long()[..., None, None].expand_as(past_obs)
        return self.describe(every.gather(2, rows)), self.goal.first(past_seen[:, :, 0])


def refuse_length(history: int, ahead: int, shrinks: int) -> None:
    """Raise ConfigError for windows that the network cannot take, or that hold nothing to generate."""
    length = history + ahead
    if ahead < 1:
        raise ConfigError("algo.horizon counts the present step, so it must be at least 2")
    if length % shrinks:
        raise ConfigError(
            f"algo.history + algo.horizon - 1 = {length} steps must be a multiple of {shrinks}, because "
            "algo.net.levels halves a window between two levels; change one of them"
        )
