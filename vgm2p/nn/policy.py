"""Policy networks: velocities of flow policies (times as raw scalars, conditions as one-hots), and tanh policies.

The output of a flow network is the velocity or the clean action (`flows.head`). Either way, it returns the velocity.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vgm2p.flows.head import VELOCITY, Along, Head
from vgm2p.groups import Net
from vgm2p.nn.agents import network
from vgm2p.nn.mlp import MLP

LOG_STD_MIN, LOG_STD_MAX = -5.0, 2.0
MEAN_MAX = 9.0  # tanh(9) = 1 - 3e-8: beyond it nothing changes


def _join(parts: list[Tensor | None], shape: torch.Size) -> Tensor:
    return torch.cat([part.expand(*shape, part.shape[-1]) for part in parts if part is not None], dim=-1)


class AverageVelocity(nn.Module):
    """u(x, r, k, o, c): average velocity from time r to time k (MeanFlow). r <= k; 0 is data, 1 is noise.

    Args:
        seeds: number of seeds S.
        obs_dim: width of an encoded observation.
        action_dim: width A of an action vector.
        classes: number of conditions; 0 for an unconditional network.
        net: size of the network.
        agents: number of agents if each has a network of its own; None: all agents share one.
        head: what the network's output means.
    """

    def __init__(
        self,
        seeds: int,
        obs_dim: int,
        action_dim: int,
        classes: int,
        net: Net,
        agents: int | None = None,
        head: Head = VELOCITY,
    ) -> None:
        super().__init__()
        self.head = head
        self.mlp = network((seeds,), agents, action_dim + 2 + obs_dim + classes, action_dim, net)

    def forward(
        self, x: Tensor, r: Tensor, k: Tensor, o: Tensor, c: Tensor | None, legal: Tensor | None = None
    ) -> Tensor:
        """Return u of shape (S, ..., A).

        Args:
            x: (S, ..., A) point on the path.
            r: (S, ..., 1) start time, broadcastable to x.
            k: (S, ..., 1) end time, broadcastable to x.
            o: (S, ..., obs_dim) encoded observation with the agent's one-hot.
            c: (S, ..., classes) one-hot condition, or None for an unconditional network.
            legal: (S, ..., A) bool for discrete actions, or None; read by a head that predicts the clean action.
        """
        return self.head.velocity(self._output(x, r, k, o, c), x, k, legal)

    def action(self, x: Tensor, r: Tensor, k: Tensor, o: Tensor, c: Tensor | None, legal: Tensor | None) -> Tensor:
        """Return the clean action D (S, ..., A) of a network that predicts it; arguments as in `forward`."""
        return self.head.action(self._output(x, r, k, o, c), legal)

    def along(
        self, x: Tensor, r: Tensor, k: Tensor, o: Tensor, c: Tensor | None, dx: Tensor, legal: Tensor | None = None
    ) -> Along:
        """Return u, du/dk, and the prediction, differentiable in the parameters; all (S, ..., A).

        du/dk is the total derivative along the tangent (dx, 0, 1) on (x, r, k): (du/dx) dx + the partial du/dk.
        """
        point = _join([x, r, k, o, c], x.shape[:-1])
        tangent = _join([dx, torch.zeros_like(r), torch.ones_like(k)], x.shape[:-1])
        return self.head.along(*self.mlp.value_and_tangent(point, tangent), x, dx, k, legal)

    def _output(self, x: Tensor, r: Tensor, k: Tensor, o: Tensor, c: Tensor | None) -> Tensor:
        y: Tensor = self.mlp(_join([x, r, k, o, c], x.shape[:-1]))
        return y


class Velocity(nn.Module):
    """v(x, k, o, c): instantaneous velocity at time k (flow matching). Arguments as in `AverageVelocity`."""

    def __init__(
        self, seeds: int, obs_dim: int, action_dim: int, classes: int, net: Net, head: Head = VELOCITY
    ) -> None:
        super().__init__()
        self.head = head
        self.mlp = MLP((seeds,), action_dim + 1 + obs_dim + classes, action_dim, net)

    def forward(self, x: Tensor, k: Tensor, o: Tensor, c: Tensor | None, legal: Tensor | None = None) -> Tensor:
        """Return v of shape (S, ..., A); arguments as in `AverageVelocity.forward`."""
        return self.head.velocity(self.output(x, k, o, c), x, k, legal)

    def action(self, x: Tensor, k: Tensor, o: Tensor, c: Tensor | None, legal: Tensor | None) -> Tensor:
        """Return the clean action D (S, ..., A) of a network that predicts it; arguments as in `forward`."""
        return self.head.action(self.output(x, k, o, c), legal)

    def output(self, x: Tensor, k: Tensor, o: Tensor, c: Tensor | None) -> Tensor:
        """Return what the network predicts (S, ..., A): a velocity, a clean action, or the logits of one."""
        y: Tensor = self.mlp(_join([x, k, o, c], x.shape[:-1]))
        return y


class Deterministic(nn.Module):
    """pi(o) = tanh(f(o)): one action per observation (TD3).

    Args:
        seeds: number of seeds S.
        obs_dim: width of an encoded observation.
        action_dim: width A of an action.
        net: size of the network.
    """

    def __init__(self, seeds: int, obs_dim: int, action_dim: int, net: Net) -> None:
        super().__init__()
        self.mlp = MLP((seeds,), obs_dim, action_dim, net)

    def forward(self, o: Tensor) -> Tensor:
        """Map o (S, ..., obs_dim) to actions (S, ..., A) in [-1, 1]."""
        return torch.tanh(self.mlp(o))


class TanhNormal(nn.Module):
    """a = tanh(u), u ~ N(mean(o), std(o)^2): a stochastic policy on [-1, 1]^A."""

    def __init__(self, seeds: int, obs_dim: int, action_dim: int, net: Net) -> None:
        super().__init__()
        self.mlp = MLP((seeds,), obs_dim, 2 * action_dim, net)

    def forward(self, o: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean, in [-9, 9], and log standard deviation, in [-5, 2], of u: (S, ..., A) each [OMIGA's code]."""
        mean, log_std = self.mlp(o).chunk(2, dim=-1)
        return mean.clamp(-MEAN_MAX, MEAN_MAX), log_std.clamp(LOG_STD_MIN, LOG_STD_MAX)
