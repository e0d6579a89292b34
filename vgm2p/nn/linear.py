"""Stacked affine maps and layer norms: one weight set per seed (and ensemble member)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vgm2p.nn.kernels import affine


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
        return affine(x, *self.stacked())


class LayerNorm(nn.Module):
    """Layer norm over the last axis with scale and shift of shape (*lead, width); eps 1e-6 as in flax."""

    def __init__(self, lead: tuple[int, ...], width: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(*lead, width))
        self.bias = nn.Parameter(torch.zeros(*lead, width))
        self.eps = eps

    def stacked(self) -> tuple[Tensor, Tensor]:
        """Return scale (G, width) and shift (G, width) with the leading axes merged."""
        return self.weight.flatten(0, -2), self.bias.flatten(0, -2)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x (G, R, width)."""
        scale, shift = self.stacked()
        return torch.addcmul(shift[:, None], F.layer_norm(x, x.shape[-1:], None, None, self.eps), scale[:, None])
