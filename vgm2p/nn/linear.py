"""Linear layers and layer norms with one set of parameters per seed (and ensemble member)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vgm2p.nn.fast.kernels import affine
from vgm2p.rng import glorot_limit, initial
from vgm2p.seeds import SeededLayer


class Linear(SeededLayer):
    """Linear layers with weights (*lead, out, in) and biases (*lead, out); `lead` is (S,) or (S, C).

    The weights are undefined until `initialise` fills them.
    """

    kind = "linear"

    def __init__(self, lead: tuple[int, ...], in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.merged = len(lead) == 1
        self.weight = nn.Parameter(torch.empty(*lead, out_dim, in_dim))
        self.bias = nn.Parameter(torch.zeros(*lead, out_dim))

    def stacked(self) -> tuple[Tensor, Tensor]:
        """Return weight (G, out, in) and bias (G, out), where G merges the axes of `lead`."""
        if self.merged:
            return self.weight, self.bias
        return self.weight.flatten(0, -3), self.bias.flatten(0, -2)

    @torch.no_grad()
    def initialise(self, seeds: Sequence[int], role: str) -> None:
        """Fill with Glorot uniform weights and zero biases; member m of seed s depends on (seeds[s], role, m) only."""
        out_dim, in_dim = self.weight.shape[-2:]
        limit = glorot_limit(in_dim, out_dim)
        members = self.weight.flatten(1, -3) if self.weight.dim() == 4 else self.weight.unsqueeze(1)
        for s, seed in enumerate(seeds):
            for m in range(members.shape[1]):
                members[s, m] = initial((out_dim, in_dim), limit, seed, f"{role}.weight.{m}")
        self.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """Map x (G, R, in) to (G, R, out). On a CPU group by group: a batched product would change the last bits."""
        weight, bias = self.stacked()
        if x.device.type != "cpu":
            return affine(x, weight, bias)
        return torch.stack([affine(*group) for group in zip(x, weight, bias, strict=True)])


class LayerNorm(SeededLayer):
    """Layer norm over the last axis with scale and shift of shape (*lead, width); eps 1e-6 as in flax."""

    kind = "norm"

    def __init__(self, lead: tuple[int, ...], width: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(*lead, width))
        self.bias = nn.Parameter(torch.zeros(*lead, width))
        self.eps = eps

    def stacked(self) -> tuple[Tensor, Tensor]:
        """Return scale (G, width) and shift (G, width), where G merges the axes of `lead`."""
        return self.weight.flatten(0, -2), self.bias.flatten(0, -2)

    @torch.no_grad()
    def initialise(self, seeds: Sequence[int], role: str) -> None:
        """Fill with scales of one and shifts of zero, for every seed."""
        self.weight.fill_(1.0)
        self.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x (G, R, width)."""
        scale, shift = self.stacked()
        return torch.addcmul(shift[:, None], F.layer_norm(x, x.shape[-1:], None, None, self.eps), scale[:, None])
