"""Critics: ensembles of Q^i(o^i, a^i) and Q^i(o^i, .), and a value V^i(o^i). All agents share them by default."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vgm2p.groups import Net
from vgm2p.nn.agents import network
from vgm2p.nn.mlp import MLP


class Critic(nn.Module):
    """Ensemble of C networks Q(o, a).

    Args:
        seeds: number of seeds S.
        members: number of networks C.
        obs_dim: width of an encoded observation.
        action_dim: width A of an action vector.
        net: size of the networks.
        layer_norm: whether a LayerNorm follows every hidden layer.
        agents: number of agents if each has networks of its own; None: all agents share them.
    """

    def __init__(
        self,
        seeds: int,
        members: int,
        obs_dim: int,
        action_dim: int,
        net: Net,
        layer_norm: bool = True,
        agents: int | None = None,
    ) -> None:
        super().__init__()
        self.mlp = network((seeds, members), agents, obs_dim + action_dim, 1, net, layer_norm)

    def forward(self, o: Tensor, action: Tensor, member: int | None = None) -> Tensor:
        """Map o (S, ..., obs_dim) and action (S, ..., A) to values (S, C, ...), or with `member` to (S, ...)."""
        q: Tensor = self.mlp(torch.cat([o, action], dim=-1), member)
        return q.squeeze(-1)


class ActionValues(nn.Module):
    """Ensemble of C networks Q(o, .), which give the values of all A discrete actions in one pass.

    Args:
        seeds: number of seeds S.
        members: number of networks C.
        obs_dim: width of an encoded observation.
        actions: number of actions A.
        net: size of the networks.
        layer_norm: whether a LayerNorm follows every hidden layer.
    """

    def __init__(self, seeds: int, members: int, obs_dim: int, actions: int, net: Net, layer_norm: bool = True) -> None:
        super().__init__()
        self.mlp = MLP((seeds, members), obs_dim, actions, net, layer_norm)

    def forward(self, o: Tensor) -> Tensor:
        """Map o (S, ..., obs_dim) to values (S, C, ..., A)."""
        q: Tensor = self.mlp(o)
        return q


class Value(nn.Module):
    """One network V(o).

    Args:
        seeds: number of seeds S.
        obs_dim: width of an encoded observation.
        net: size of the network.
        layer_norm: whether a LayerNorm follows every hidden layer.
    """

    def __init__(self, seeds: int, obs_dim: int, net: Net, layer_norm: bool = True) -> None:
        super().__init__()
        self.mlp = MLP((seeds,), obs_dim, 1, net, layer_norm)

    def forward(self, o: Tensor) -> Tensor:
        """Map o (S, ..., obs_dim) to values (S, ...)."""
        v: Tensor = self.mlp(o)
        return v.squeeze(-1)
