"""The body of every network here: Dense -> activation (-> LayerNorm), `depth` times, then Dense."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vgm2p.nn.fast import body
from vgm2p.nn.linear import LayerNorm, Linear
from vgm2p.seeds import SeededBody, SeededLayer

FEW_ROWS = 64  # in float32, up to here one batched product beats a product per group on a CPU; far beyond, it is slower


@dataclass(frozen=True)
class Net:
    """Size of a network's body.

    Attributes:
        width: units of a hidden layer; 512 [VGM2P Table 3].
        depth: hidden layers; 4 [VGM2P Table 3]; 0 is a linear map.
        activation: of the hidden layers; `gelu` in its tanh form [code of MAC-Flow and FQL].
    """

    width: int = 512
    depth: int = field(default=4, metadata={"least": 0})
    activation: Literal["gelu", "relu"] = "gelu"


class MLP(SeededBody):
    """Stacked multilayer perceptron with leading axes `lead` = (S,) or (S, C).

    Source: Glorot uniform, LayerNorm after the activation in critics only [code of MAC-Flow and FQL]. `plain` is the
    definition; `forward` and `value_and_tangent` compute the same by `nn.fast.body`.
    """

    kind = "mlp"

    def __init__(self, lead: tuple[int, ...], in_dim: int, out_dim: int, net: Net, layer_norm: bool = False) -> None:
        super().__init__()
        self.lead = lead
        sizes = [in_dim, *[net.width] * net.depth]
        self.hidden = nn.ModuleList(Linear(lead, a, b) for a, b in pairwise(sizes))
        self.norms = nn.ModuleList(LayerNorm(lead, net.width) for _ in range(net.depth if layer_norm else 0))
        self.output = Linear(lead, sizes[-1], out_dim)
        self.shape = body.Shape(net.depth, layer_norm, net.activation)

    def parts(self) -> Iterator[tuple[str, SeededLayer]]:
        """Yield the layers as `hidden.0`, `norms.0`, ..., `output`."""
        for name, layers in (("hidden", self.hidden), ("norms", self.norms)):
            for i, layer in enumerate(layers):
                yield f"{name}.{i}", layer  # type: ignore[misc]
        yield "output", self.output

    def forward(self, x: Tensor) -> Tensor:
        """Map x (S, ..., in) to (*lead, ..., out); under autocast in its type, the result in the parameters'."""
        if torch._C._are_functorch_transforms_active():  # torch.func sees through ordinary operations only
            return self.plain(x)
        rows, parameters, dtype, grouped = self._prepared(x)
        with torch.autocast(x.device.type, enabled=False):
            if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (x, *parameters)):
                y, _ = body.Body.apply(self.shape, dtype, grouped, rows, None, *parameters)  # type: ignore[no-untyped-call]
                return self._leave(y, x)
            # a rollout's few rows: a call per group would cost more than its products do
            few = torch.is_inference_mode_enabled() and rows.shape[1] <= FEW_ROWS and dtype != torch.bfloat16
            grouped = grouped and not few
            units = body.work(self.shape, dtype, grouped, rows, None, parameters)
            found = body.joined([body.infer(a, ps, self.shape) for a, _, ps in units], grouped)
        return self._leave(found, x)

    def value_and_tangent(self, x: Tensor, dx: Tensor) -> tuple[Tensor, Tensor]:
        """Return y = f(x), differentiable in the parameters, and the tangent f'(x) dx without gradient.

        The tangent rides next to the primal pass and shares its activation derivatives; `torch.func.jvp` of `plain` is
        the oracle. x: (S, ..., in), dx: the tangent of its leading columns, the others being still -> both (*lead, ...,
        out). Raises ValueError for bodies with LayerNorm.
        """
        if self.norms:
            raise ValueError("value_and_tangent has no rule for LayerNorm; use torch.func.jvp")
        rows, parameters, dtype, grouped = self._prepared(x)
        with torch.autocast(x.device.type, enabled=False):
            tangent = dx.detach().flatten(1, -2)
            y, dy = body.Body.apply(self.shape, dtype, grouped, rows, tangent, *parameters)  # type: ignore[no-untyped-call]
        return self._leave(y, x), self._leave(dy, x)

    def plain(self, x: Tensor) -> Tensor:
        """Map x as `forward` does, by ordinary differentiable operations."""
        members = self.lead[1] if len(self.lead) > 1 else 1
        h = x.flatten(1, -2).repeat_interleave(members, 0)
        norms: list[nn.Module] = [*self.norms] or [nn.Identity()] * len(self.hidden)
        for layer, norm in zip(self.hidden, norms, strict=True):
            z = layer(h)
            h = norm(F.relu(z) if self.shape.activation == "relu" else F.gelu(z, approximate="tanh"))
        with torch.autocast(x.device.type, enabled=False):  # the output layer keeps its type: see `body.Shape.cast`
            return self._leave(self.output(h.to(self.output.weight.dtype)), x)

    def _prepared(self, x: Tensor) -> tuple[Tensor, list[Tensor], torch.dtype, bool]:
        """Return rows (S, R, in), parameters (G, ...), the type of the products, and whether groups run one by one."""
        device = x.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else self.output.weight.dtype
        parameters: list[Tensor] = []
        for i, layer in enumerate(self.hidden):
            parameters += layer.stacked()  # type: ignore[operator]
            parameters += self.norms[i].stacked() if self.norms else ()  # type: ignore[operator]
        return x.flatten(1, -2), [*parameters, *self.output.stacked()], dtype, body.group_by_group(device)

    def _leave(self, y: Tensor, x: Tensor) -> Tensor:
        return y.reshape(*self.lead, *x.shape[1:-1], y.shape[-1])
