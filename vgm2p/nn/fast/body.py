"""The multilayer perceptron as one autograd function with a hand-written backward pass and an optional tangent.

In every hidden layer, one kernel computes h = act(z) and d = act'(z). The tangent is (W dh) d, and the backward pass
multiplies the gradient by the same d. So each derivative is computed once, and autograd records one operation only. For
ReLU, h itself takes the place of d: the derivative is 1 where h > 0. A group is one seed, or one member of a seed's
ensemble. On a CPU, groups run one after another, because one group fits into the cache. On other devices, all groups
run as one batched product.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any

import torch
from torch import Tensor

from vgm2p.nn.fast.activation import chain_, value_and_derivative
from vgm2p.nn.fast.kernels import affine, affine_gelu

EPS = 1e-6  # epsilon of LayerNorm, as in flax


@dataclass(frozen=True)
class Shape:
    """Architecture: `layers` hidden layers with an activation (gelu or relu), each with or without a LayerNorm.

    Order of the parameters, each (G, ...): weight, bias (, scale, shift) of every hidden layer, then weight and bias of
    the output layer.
    """

    layers: int
    layer_norm: bool
    activation: str = "gelu"

    @property
    def per_layer(self) -> int:
        """Number of parameter tensors of a hidden layer."""
        return 4 if self.layer_norm else 2

    def cast(self, parameters: Sequence[Tensor], dtype: torch.dtype) -> list[Tensor]:
        """Return the parameters, with weights and biases of the hidden layers in `dtype`.

        Scales, shifts and the output layer keep their dtype: in bfloat16, outputs of several hundred that differ by
        less than 1 would be equal.
        """
        if dtype == parameters[-1].dtype:
            return list(parameters)
        hidden = self.layers * self.per_layer
        return [p if i >= hidden or i % self.per_layer > 1 else p.to(dtype) for i, p in enumerate(parameters)]


@dataclass
class Tape:
    """What the backward pass of a unit of work needs, per layer: input, d of `chain_`, and input of the LayerNorm."""

    inputs: list[Tensor] = field(default_factory=list)
    derivatives: list[Tensor] = field(default_factory=list)
    norms: list[tuple[Tensor, Tensor, Tensor]] = field(default_factory=list)

    def tensors(self) -> list[Tensor]:
        """Return all tensors in a fixed order."""
        return [*self.inputs, *self.derivatives, *[tensor for norm in self.norms for tensor in norm]]

    @staticmethod
    def restore(tensors: Sequence[Tensor], shape: Shape) -> Tape:
        """Return the tape from the tensors that `tensors` returned."""
        n = shape.layers
        norms = [(tensors[i], tensors[i + 1], tensors[i + 2]) for i in range(2 * n + 1, len(tensors), 3)]
        return Tape(list(tensors[: n + 1]), list(tensors[n + 1 : 2 * n + 1]), norms)


def infer(x: Tensor, parameters: Sequence[Tensor], shape: Shape) -> Tensor:
    """Return the output (R, out) or (G, R, out) for x (R, in) or (G, R, in). Keeps nothing for a backward pass."""
    h = x.to(parameters[0].dtype)
    for at in range(0, shape.layers * shape.per_layer, shape.per_layer):
        weight, bias = parameters[at], parameters[at + 1]
        h = affine_gelu(h, weight, bias) if shape.activation == "gelu" else affine(h, weight, bias).relu_()
        if shape.layer_norm:
            h = _norm(h, parameters[at + 2], parameters[at + 3])[0]
    return affine(h.to(parameters[-2].dtype), parameters[-2], parameters[-1])


def record(
    x: Tensor, dx: Tensor | None, parameters: Sequence[Tensor], shape: Shape, tape: Tape
) -> tuple[Tensor, Tensor | None]:
    """Return the output and, if dx is given, its tangent along dx. Fill the tape. Shapes as in `infer`."""
    h, dx = x.to(parameters[0].dtype), None if dx is None else dx.to(parameters[0].dtype)
    for at in range(0, shape.layers * shape.per_layer, shape.per_layer):
        tape.inputs.append(h)
        h, d = _hidden(h, parameters[at], parameters[at + 1], shape.activation)
        tape.derivatives.append(d)
        if dx is not None:
            dx = chain_(affine(dx, parameters[at][..., : dx.shape[-1]], None), d, shape.activation)
        if shape.layer_norm:
            before = h
            h, mean, rstd = _norm(before, parameters[at + 2], parameters[at + 3])
            tape.norms.append((before, mean, rstd))
    tape.inputs.append(h)
    wide = parameters[-2].dtype
    tangent = None if dx is None else affine(dx.to(wide), parameters[-2][..., : dx.shape[-1]], None)
    return affine(h.to(wide), parameters[-2], parameters[-1]), tangent


def backward(
    g: Tensor, parameters: Sequence[Tensor], shape: Shape, tape: Tape, into: Sequence[Tensor] | None, through: bool
) -> Tensor | None:
    """Do the backward pass for the gradient g of the output, (R, out) or (G, R, out).

    Args:
        g: gradient of the output.
        parameters: as in `Shape`.
        shape: architecture.
        tape: what `record` kept.
        into: tensors that receive the gradients of the parameters, or None.
        through: whether to return the gradient of the input; otherwise None is returned.
    """
    if into is not None:
        weight_gradient(g, tape.inputs[-1].to(g.dtype), into[-2], into[-1])
    if not shape.layers and not through:
        return None
    g = torch.matmul(g, parameters[-2]).to(parameters[0].dtype)
    for layer in reversed(range(shape.layers)):
        at = layer * shape.per_layer
        if shape.layer_norm:
            norm = None if into is None else (into[at + 2], into[at + 3])
            g = _norm_backward(g, tape.norms[layer], parameters[at + 2], norm)
        g = chain_(g, tape.derivatives[layer], shape.activation)
        if into is not None:
            weight_gradient(g, tape.inputs[layer], into[at], into[at + 1])
        if layer or through:
            g = torch.matmul(g, parameters[at])
    return g if through else None


def weight_gradient(g: Tensor, h: Tensor, weight: Tensor, bias: Tensor) -> None:
    """Write a layer's gradients into `weight` and `bias`, from its input h and the gradient g of its output."""
    if g.dtype == weight.dtype:
        torch.matmul(g.mT, h, out=weight)
    else:
        weight.copy_(torch.matmul(g.mT, h))
    torch.sum(g, dim=-2, dtype=bias.dtype, out=bias)


def _hidden(h: Tensor, weight: Tensor, bias: Tensor, activation: str) -> tuple[Tensor, Tensor]:
    """Return the values of a layer's units, and the d of `chain_`."""
    z = affine(h, weight, bias)
    if activation == "gelu":
        return value_and_derivative(z)
    z.relu_()
    return z, z


def _norm(h: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    if h.dim() == 2:
        return torch.native_layer_norm(h, h.shape[-1:], scale, shift, EPS)
    normal, mean, rstd = torch.native_layer_norm(h, h.shape[-1:], None, None, EPS)
    return torch.addcmul(shift[:, None], normal, scale[:, None]).to(h.dtype), mean, rstd


def _norm_backward(
    g: Tensor, saved: tuple[Tensor, Tensor, Tensor], scale: Tensor, into: tuple[Tensor, Tensor] | None
) -> Tensor:
    """Return the gradient of the input. Write the gradients of scale and shift into `into`, if given."""
    before, mean, rstd = saved
    kernel, width = torch.ops.aten.native_layer_norm_backward, list(before.shape[-1:])
    if g.dim() == 2:
        g, d_scale, d_shift = kernel(
            g, before, width, mean, rstd, scale, scale, [True, into is not None, into is not None]
        )
        if into is not None:
            into[0].copy_(d_scale)
            into[1].copy_(d_shift)
        return g
    if into is not None:
        into[0].copy_((g * ((before - mean) * rstd)).sum(-2))
        into[1].copy_(g.sum(-2))
    inner = (g * scale[:, None]).to(before.dtype)
    return kernel(inner, before, width, mean, rstd, None, None, [True, False, False])[0]  # type: ignore


class Body(torch.autograd.Function):
    """forward(shape, dtype, grouped, x, dx, *parameters) -> (y, dy).

    y and dy are (G, R, out).

    Args of forward:
        shape: architecture.
        dtype: dtype of the products in hidden layers (bfloat16 in an autocast region). Parameters, the output layer and
            results keep their dtype.
        grouped: whether groups run one after another (CPU) or all together.
        x: (S, R, in); the input of seed s is the input of its G / S groups.
        dx: (S, R, at most in), tangent of the first columns of x; the other columns have tangent zero. If it is None,
            dy is None. No gradient passes through dx or dy.
        parameters: (G, ...) each, in the order of `Shape`.
    """

    @staticmethod
    def forward(
        ctx: Any, shape: Shape, dtype: torch.dtype, grouped: bool, x: Tensor, dx: Tensor | None, *parameters: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Run the network and save one tape per unit of work."""
        units = list(work(shape, dtype, grouped, x, dx, parameters))
        tapes = [Tape() for _ in units]
        results = [record(a, da, ps, shape, tape) for (a, da, ps), tape in zip(units, tapes, strict=True)]
        ctx.shape, ctx.dtype, ctx.grouped, ctx.seeds = shape, dtype, grouped, x.shape[0]
        ctx.counts = [len(tape.tensors()) for tape in tapes]
        ctx.save_for_backward(*parameters, *[tensor for tape in tapes for tensor in tape.tensors()])
        y = joined([y for y, _ in results], grouped)
        if dx is None:
            return y, None
        dy = joined([dy for _, dy in results if dy is not None], grouped)
        ctx.mark_non_differentiable(dy)
        return y, dy

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x and of the parameters, where they are needed.

        Raises:
            RuntimeError: with `create_graph=True`: second derivatives would be zero.
        """
        if torch.is_grad_enabled():
            raise RuntimeError("this network has no second derivatives; compute it by `MLP.plain`")
        shape, through, saved = ctx.shape, ctx.needs_input_grad[3], list(ctx.saved_tensors)
        count = shape.layers * shape.per_layer + 2
        parameters, saved = saved[:count], saved[count:]
        wanted = any(ctx.needs_input_grad[5:])
        into = [torch.empty_like(p) for p in parameters] if wanted else None
        gx: list[Tensor] = []
        units = work(shape, ctx.dtype, ctx.grouped, grads[0], None, parameters)
        parts = repeat(None) if into is None else by_group(into) if ctx.grouped else [into]
        for (g, _, ps), size, mine in zip(units, ctx.counts, parts, strict=False):
            tape, saved = Tape.restore(saved[:size], shape), saved[size:]
            found = backward(g, ps, shape, tape, mine, through)
            if found is not None:
                gx.append(found)
        gradients: Sequence[Tensor | None] = [None] * count if into is None else into
        if not through:
            return None, None, None, None, None, *gradients
        whole = joined(gx, ctx.grouped).to(parameters[0].dtype)
        return None, None, None, torch.unflatten(whole, 0, (ctx.seeds, -1)).sum(1), None, *gradients


def group_by_group(device: str) -> bool:
    """Return whether groups run one after another on a device of this type (`cpu`, `cuda`)."""
    return device == "cpu"


def work(
    shape: Shape, dtype: torch.dtype, grouped: bool, x: Tensor, dx: Tensor | None, parameters: Sequence[Tensor]
) -> Iterator[tuple[Tensor, Tensor | None, list[Tensor]]]:
    """Yield (x, dx, parameters) of each unit of work, for x (S, R, in) or (G, R, in).

    A unit is one group if `grouped`; otherwise there is one unit with all groups.
    """
    members = parameters[0].shape[0] // x.shape[0]
    if grouped:
        rows, tangents = x.unbind(), None if dx is None else dx.unbind()
        for g, mine in enumerate(by_group(parameters)):
            s = g // members
            yield rows[s], None if tangents is None else tangents[s], shape.cast(mine, dtype)
        return
    if members > 1:
        x, dx = x.repeat_interleave(members, 0), None if dx is None else dx.repeat_interleave(members, 0)
    yield x, dx, shape.cast(parameters, dtype)


def by_group(tensors: Sequence[Tensor]) -> Iterator[tuple[Tensor, ...]]:
    """Split tensors (G, ...) into the tensors of each group."""
    return zip(*(tensor.unbind() for tensor in tensors), strict=True)


def joined(parts: Sequence[Tensor], grouped: bool) -> Tensor:
    """Join the results of the units of work to (G, R, ...)."""
    if not grouped:
        return parts[0]
    return torch.stack(list(parts)) if len(parts) > 1 else parts[0].unsqueeze(0)
