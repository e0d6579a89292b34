"""Learnt mixers: the value of a joint action from the values of the agents, with weights that depend on the state."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vgm2p.groups import Net
from vgm2p.nn.fast.kernels import full_precision
from vgm2p.nn.mlp import MLP


class Monotonic(nn.Module):
    """QMIX: Q_tot = f(q_1, ..., q_N; x) never falls when a q_i rises (arXiv 1803.11485).

    Hypernetworks of x give the weights of f, which are made positive by their absolute values. Sizes and depths are
    those of PyMARL.

    Args:
        seeds: number of seeds S.
        in_dim: width D of x.
        agents: number of agents N.
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
        """Map q (S, C, B, K, N), the agents' values of K joint actions, and x (S, B, D) to Q_tot (S, C, B, K)."""
        first = self.first(x).unflatten(-1, (self.agents, -1)).abs().unsqueeze(1)  # (S, 1, B, N, embed)
        first_bias, second_bias = self.first_bias(x)[:, None, :, None], self.second_bias(x).unsqueeze(1)
        second = self.second(x).abs()[:, None, :, :, None]  # (S, 1, B, embed, 1)
        with full_precision(q.device.type):  # in bfloat16, values of several hundred may become equal
            hidden = F.elu(q @ first + first_bias)
            mixed: Tensor = (hidden @ second).squeeze(-1) + second_bias
        return mixed


class Weighted(nn.Module):
    """Q_tot = sum_i w_i(x) q_i + b(x), with w_i >= 0: the mixer of OMIGA and, normalised and without b, of ICQ.

    Args:
        seeds: number of seeds S.
        in_dim: width D of x.
        agents: number of agents N.
        hidden: width of the hidden layer.
        bias: whether there is a b(x).
        normalised: whether the weights of a row add up to 1.
    """

    def __init__(
        self, seeds: int, in_dim: int, agents: int, hidden: int = 64, bias: bool = True, normalised: bool = False
    ) -> None:
        super().__init__()
        self.agents, self.normalised = agents, normalised
        self.mlp = MLP((seeds,), in_dim, agents + bias, Net(hidden, 1, "relu"))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map x (S, B, D) to the weights w (S, B, N) and b (S, B), which is 0 without bias."""
        head: Tensor = self.mlp(x)
        w = head[..., : self.agents].abs()
        if self.normalised:
            w = w + torch.finfo(w.dtype).tiny  # so that they add up to 1 even where the network says 0
            w = w / w.sum(-1, keepdim=True)
        return w, head[..., self.agents :].sum(-1)

    def mix(self, q: Tensor, x: Tensor) -> Tensor:
        """Return Q_tot (S, C, B) of the agents' values q (S, C, B, N) under x (S, B, D)."""
        w, b = self.forward(x)
        return (w.unsqueeze(1) * q).sum(-1) + b.unsqueeze(1)
