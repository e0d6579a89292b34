"""Multilayer perceptron: `depth` times linear -> activation (-> LayerNorm), then a linear output layer."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vgm2p.groups import Net
from vgm2p.nn.fast import body
from vgm2p.nn.fast.kernels import full_precision
from vgm2p.nn.linear import LayerNorm, Linear
from vgm2p.seeds import SeededBody, SeededLayer

FEW_ROWS = 64  # float32 on a CPU: up to so many rows, one batched product is faster than one product per group


class MLP(SeededBody):
    """Multilayer perceptrons, one per seed (and ensemble member): `lead` is (S,) or (S, C).

    Source: Glorot uniform weights; LayerNorm after the activation, in critics only [code of MAC-Flow and FQL]. `plain`
    defines the network with ordinary operations; `forward` and `value_and_tangent` compute it faster (`nn.fast.body`).
    """

    kind = "mlp"

    def __init__(self, lead: tuple[int, ...], in_dim: int, out_dim: int, net: Net, layer_norm: bool = False) -> None:
        super().__init__()
        self.lead, self.members = lead, lead[1] if len(lead) > 1 else 1
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

    def forward(self, x: Tensor, member: int | None = None) -> Tensor:
        """Map x (S, ..., in) to (*lead, ..., out).

        Under autocast, the hidden layers compute in its dtype; the result has the dtype of the parameters. If lead is
        (S, C), `member` runs only one of the C networks and returns (S, ..., out).
        """
        if (
            torch._C._are_functorch_transforms_active() or torch.compiler.is_exporting()
        ):  # they take ordinary operations
            return self.plain(x) if member is None else self.plain(x)[:, member]
        rows, parameters, dtype, grouped = self._prepared(x)
        if member is not None:
            parameters = [parameter[member :: self.members] for parameter in parameters]
        with full_precision(x.device.type):
            if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (x, *parameters)):
                y, _ = body.Body.apply(self.shape, dtype, grouped, rows, None, *parameters)  # type: ignore[no-untyped-call]
                return self._leave(y, x, member)
            # the few rows of a rollout: one call per group would cost more than the products themselves
            few = torch.is_inference_mode_enabled() and rows.shape[1] <= FEW_ROWS and dtype != torch.bfloat16
            grouped = grouped and not few
            units = body.work(self.shape, dtype, grouped, rows, None, parameters)
            found = body.joined([body.infer(a, ps, self.shape) for a, _, ps in units], grouped)
        return self._leave(found, x, member)

    def value_and_tangent(self, x: Tensor, dx: Tensor) -> tuple[Tensor, Tensor]:
        """Return y = f(x), differentiable in the parameters, and the tangent f'(x) dx without gradient.

        Both are computed in one pass and share the derivatives of the activations. The tangent equals that of
        `torch.func.jvp` of `plain`.

        Args:
            x: (S, ..., in).
            dx: (S, ..., at most in), tangent of the first columns of x; the tangent of the other columns is zero.

        Returns:
            y and the tangent, both (*lead, ..., out).

        Raises:
            ValueError: if the network has LayerNorm.
        """
        if self.norms:
            raise ValueError("value_and_tangent does not support LayerNorm; use torch.func.jvp")
        rows, parameters, dtype, grouped = self._prepared(x)
        with full_precision(x.device.type):
            tangent = self._rows(dx.detach())
            y, dy = body.Body.apply(self.shape, dtype, grouped, rows, tangent, *parameters)  # type: ignore[no-untyped-call]
        return self._leave(y, x), self._leave(dy, x)

    def plain(self, x: Tensor) -> Tensor:
        """Compute the same as `forward`, by ordinary differentiable operations."""
        h = self._rows(x).repeat_interleave(self.members, 0)
        norms: list[nn.Module] = [*self.norms] or [nn.Identity()] * len(self.hidden)
        for layer, norm in zip(self.hidden, norms, strict=True):
            z = layer(h)
            h = norm(F.relu(z) if self.shape.activation == "relu" else F.gelu(z, approximate="tanh"))
        with full_precision(x.device.type):  # the output layer keeps its dtype: see `body.Shape.cast`
            return self._leave(self.output(h.to(self.output.weight.dtype)), x)

    def _prepared(self, x: Tensor) -> tuple[Tensor, list[Tensor], torch.dtype, bool]:
        """Return rows (S, R, in), parameters (G, ...), dtype of the products, and whether groups run one by one."""
        device = x.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else self.output.weight.dtype
        parameters: list[Tensor] = []
        for i, layer in enumerate(self.hidden):
            parameters += layer.stacked()  # type: ignore[operator]
            parameters += self.norms[i].stacked() if self.norms else ()  # type: ignore[operator]
        return self._rows(x), [*parameters, *self.output.stacked()], dtype, body.group_by_group(device)

    def _rows(self, x: Tensor) -> Tensor:
        """Make a group of rows of each seed: (S, ..., in) -> (S, R, in)."""
        return x.flatten(1, -2)

    def _leave(self, y: Tensor, x: Tensor, member: int | None = None) -> Tensor:
        lead = self.lead if member is None else self.lead[:1]
        return y.reshape(*lead, *x.shape[1:-1], y.shape[-1])
