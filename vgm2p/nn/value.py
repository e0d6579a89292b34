"""Critics: ensembles of Q^i(o^i, a^i) and Q^i(o^i, .), and a state value V^i(o^i), shared by the agents."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vgm2p.nn.mlp import MLP, Net


class Critic(nn.Module):
    """C members of Q(o, a)."""

    def __init__(
        self, seeds: int, members: int, obs_dim: int, action_dim: int, net: Net, layer_norm: bool = True
    ) -> None:
        super().__init__()
        self.mlp = MLP((seeds, members), obs_dim + action_dim, 1, net, layer_norm)

    def forward(self, o: Tensor, action: Tensor) -> Tensor:
        """Map o (S, ..., O) and action (S, ..., A) to (S, C, ...)."""
        q: Tensor = self.mlp(torch.cat([o, action], dim=-1))
        return q.squeeze(-1)


class ActionValues(nn.Module):
    """C members of Q(o, .): the values of all A discrete actions in one pass."""

    def __init__(self, seeds: int, members: int, obs_dim: int, actions: int, net: Net, layer_norm: bool = True) -> None:
        super().__init__()
        self.mlp = MLP((seeds, members), obs_dim, actions, net, layer_norm)

    def forward(self, o: Tensor) -> Tensor:
        """Map o (S, ..., O) to (S, C, ..., A)."""
        q: Tensor = self.mlp(o)
        return q


class Value(nn.Module):
    """V(o), one member, same body as the critic."""

    def __init__(self, seeds: int, obs_dim: int, net: Net) -> None:
        super().__init__()
        self.mlp = MLP((seeds,), obs_dim, 1, net, layer_norm=True)

    def forward(self, o: Tensor) -> Tensor:
        """Map o (S, ..., O) to (S, ...)."""
        v: Tensor = self.mlp(o)
        return v.squeeze(-1)
