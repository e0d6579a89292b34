"""Stacked affine maps and layer norms: one weight set per seed (and ensemble member), one batched product for all."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Apply G affine maps: x (G, R, in), weight (G, out, in), bias (G, out) or None -> (G, R, out)."""
    if weight.shape[0] == 1:
        return F.linear(x[0], weight[0], None if bias is None else bias[0])[None]
    if bias is None:
        return torch.bmm(x, weight.transpose(1, 2))
    return torch.baddbmm(bias[:, None], x, weight.transpose(1, 2))


def full(x: Tensor) -> Tensor:
    """Return half-precision results of an autocast region as float32, others unchanged: losses never sum in half."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


class Linear(nn.Module):
    """Affine maps with parameters (*lead, out, in) and (*lead, out), `lead` being (S,) or (S, C).

    Parameters are filled by `vgm2p.seeds.initialise`, which knows the seeds.
    """

    def __init__(self, lead: tuple[int, ...], in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(*lead, out_dim, in_dim))
        self.bias = nn.Parameter(torch.zeros(*lead, out_dim))

    def stacked(self) -> tuple[Tensor, Tensor]:
        """Return weight (G, out, in) and bias (G, out) with the leading axes merged."""
        return self.weight.flatten(0, -3), self.bias.flatten(0, -2)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (G, R, in) to (G, R, out)."""
        return linear(x, *self.stacked())

    def tangent(self, dx: Tensor) -> Tensor:
        """Push a tangent (G, R, in) through the linear part."""
        return linear(dx, self.stacked()[0], None)


class LayerNorm(nn.Module):
    """Layer norm over the last axis with scale and shift of shape (*lead, width); eps 1e-6 as in flax."""

    def __init__(self, lead: tuple[int, ...], width: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(*lead, width))
        self.bias = nn.Parameter(torch.zeros(*lead, width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x (G, R, width)."""
        weight, bias = self.weight.flatten(0, -2), self.bias.flatten(0, -2)
        width = (x.shape[-1],)
        if math.prod(weight.shape[:-1]) == 1:
            return F.layer_norm(x, width, weight[0], bias[0], self.eps)
        if x.device.type == "cpu":  # one fused kernel per group: 1.5 times as fast as the two passes below
            groups = zip(x.unbind(), weight.unbind(), bias.unbind(), strict=True)
            return torch.stack([F.layer_norm(one, width, w, b, self.eps) for one, w, b in groups])
        normal = F.layer_norm(x, width, None, None, self.eps)
        return torch.addcmul(bias[:, None], normal, weight[:, None])
