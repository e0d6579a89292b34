"""Self-attention over agents, with the seed axis."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vgm2p.nn.linear import Linear


class Attention(nn.Module):
    """Multi-head self-attention over the N agents of a row, with a linear output layer and without position codes.

    Args:
        seeds: number of seeds S.
        dim: width of an agent's features.
        heads: number of heads.
        head_dim: width of a head.
    """

    def __init__(self, seeds: int, dim: int, heads: int = 4, head_dim: int = 32) -> None:
        super().__init__()
        self.heads = heads
        self.project = Linear((seeds,), dim, 3 * heads * head_dim)
        self.output = Linear((seeds,), heads * head_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (S, R, N, dim) to (S, R, N, dim)."""
        agents = x.shape[2]
        q, k, v = (
            part.unflatten(1, (-1, agents))
            .unflatten(-1, (self.heads, -1))
            .transpose(2, 3)  # (S, R, heads, N, head_dim)
            for part in self.project(x.flatten(1, 2)).chunk(3, dim=-1)
        )
        seen = attend(q, k, v)
        y: Tensor = self.output(seen.transpose(2, 3).flatten(3).flatten(1, 2))
        return torch.unflatten(y, 1, (-1, agents))


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return scaled dot-product attention of queries, keys and values (S, R, heads, N, .)."""
    if torch.compiler.is_exporting():  # ONNX has no axis for seeds; an exported policy has one seed
        return F.scaled_dot_product_attention(q[0], k[0], v[0]).unsqueeze(0)
    return F.scaled_dot_product_attention(q, k, v)
