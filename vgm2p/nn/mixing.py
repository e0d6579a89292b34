"""Mixers: the value of a joint action from the agents' own values, with weights that depend on all observations."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vgm2p.nn.mlp import MLP, Net


class Monotonic(nn.Module):
    """QMIX: Q_tot = f(q_1, ..., q_N; x), which rises or stays where a q_i rises (arXiv 1803.11485).

    Hypernetworks of x give the weights of f; their absolute values are used. Sizes and depths are those of PyMARL.

    Args:
        seeds: S.
        in_dim: width D of x.
        agents: N.
        embed: width of f's hidden layer.
        hidden: width of the hypernetworks' hidden layer.
    """

    def __init__(self, seeds: int, in_dim: int, agents: int, embed: int = 32, hidden: int = 64) -> None:
        super().__init__()
        self.agents = agents
        self.first = MLP((seeds,), in_dim, agents * embed, Net(hidden, 1, "relu"))
        self.first_bias = MLP((seeds,), in_dim, embed, Net(hidden, 0))
        self.second = MLP((seeds,), in_dim, embed, Net(hidden, 1, "relu"))
        self.second_bias = MLP((seeds,), in_dim, 1, Net(embed, 1, "relu"))

    def forward(self, q: Tensor, x: Tensor) -> Tensor:
        """Mix q (S, C, B, K, N), K joint actions per row, under x (S, B, D): (S, C, B, K)."""
        first = self.first(x).unflatten(-1, (self.agents, -1)).abs().unsqueeze(1)  # (S, 1, B, N, embed)
        first_bias, second_bias = self.first_bias(x)[:, None, :, None], self.second_bias(x).unsqueeze(1)
        second = self.second(x).abs()[:, None, :, :, None]  # (S, 1, B, embed, 1)
        with torch.autocast(q.device.type, enabled=False):  # bfloat16 cannot tell values of several hundred apart
            hidden = F.elu(q @ first + first_bias)
            mixed: Tensor = (hidden @ second).squeeze(-1) + second_bias
        return mixed
