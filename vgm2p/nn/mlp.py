"""The body of every network here: Dense -> GELU (-> LayerNorm), `depth` times, then Dense."""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from vgm2p.nn.activation import gelu, gelu_with_derivative
from vgm2p.nn.linear import LayerNorm, Linear


class MLP(nn.Module):
    """Stacked multilayer perceptron with leading axes `lead` = (S,) or (S, C).

    Source: 4 x 512 [VGM2P Table 3]; GELU, Glorot uniform, LayerNorm after the activation in critics only
    [code of MAC-Flow and FQL].
    """

    def __init__(
        self, lead: tuple[int, ...], in_dim: int, out_dim: int, width: int, depth: int, layer_norm: bool = False
    ) -> None:
        super().__init__()
        self.lead = lead
        sizes = [in_dim, *[width] * depth]
        self.hidden = nn.ModuleList(Linear(lead, a, b) for a, b in pairwise(sizes))
        self.norms = nn.ModuleList(LayerNorm(lead, width) for _ in range(depth if layer_norm else 0))
        self.output = Linear(lead, sizes[-1], out_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (S, ..., in) to (*lead, ..., out)."""
        h = self._enter(x)
        norms: list[nn.Module] = [*self.norms] or [nn.Identity()] * len(self.hidden)
        for layer, norm in zip(self._layers(), norms, strict=True):
            h = norm(gelu(layer(h)))
        return self._leave(self.output(h), x)

    def value_and_tangent(self, x: Tensor, dx: Tensor) -> tuple[Tensor, Tensor]:
        """Return y = f(x), differentiable in the parameters, and the tangent f'(x) dx without gradient.

        The tangent rides next to the primal pass and shares its activation derivatives; `torch.func.jvp` is the oracle.
        x, dx: (S, ..., in) -> both (*lead, ..., out). Raises ValueError for bodies with LayerNorm.
        """
        if self.norms:
            raise ValueError("value_and_tangent has no rule for LayerNorm; use torch.func.jvp")
        h, dh = self._enter(x), self._enter(dx).detach()
        for layer in self._layers():
            h, derivative = gelu_with_derivative(layer(h))
            with torch.no_grad():
                dh = layer.tangent(dh).mul_(derivative)
        with torch.no_grad():
            dy = self.output.tangent(dh)
        return self._leave(self.output(h), x), self._leave(dy, x)

    def _layers(self) -> list[Linear]:
        return cast("list[Linear]", list(self.hidden))

    def _enter(self, x: Tensor) -> Tensor:
        rows = x.flatten(1, -2)  # (S, R, in)
        if len(self.lead) == 1:
            return rows
        members = self.lead[1]
        return rows.unsqueeze(1).expand(-1, members, -1, -1).flatten(0, 1)  # (S*C, R, in)

    def _leave(self, y: Tensor, x: Tensor) -> Tensor:
        return y.reshape(*self.lead, *x.shape[1:-1], y.shape[-1])
