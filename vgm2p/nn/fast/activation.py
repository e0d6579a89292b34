"""Value and derivative of GELU (tanh form, as in flax), computed together. For ReLU, the value says the derivative.

`gelu_tanh(z) = z * sigmoid(2 sqrt(2/pi) (z + 0.044715 z^3))`. Torch's own kernels (ATen) compute a tanh in the forward
pass and again in the backward pass. On a CPU, this file computes one sigmoid for both. On a GPU, ATen's kernels are
used, because the number of kernel launches matters more there.
"""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

SCALE = 2.0 * math.sqrt(2.0 / math.pi)
CUBIC = 0.044715
PIECE = 3 << 15  # count of numbers in a piece on a CPU: a piece and its temporaries fit into the second-level cache


def gelu(z: Tensor) -> Tensor:
    """Return GELU(z), same shape as z, without gradient."""
    z = z.detach()
    if z.is_cuda:
        return F.gelu(z, approximate="tanh")
    return (z * z).mul_(CUBIC * SCALE).add_(SCALE).mul_(z).sigmoid_().mul_(z)


def chain_(g: Tensor, d: Tensor, activation: str) -> Tensor:
    """Multiply g in place by act'(z), and return it. d is act'(z) for `gelu`, and act(z) for `relu`: shaped as g."""
    if activation == "relu":
        return torch.ops.aten.threshold_backward.grad_input(g, d, 0, grad_input=g)  # type: ignore[no-any-return]
    return g.mul_(d)


def value_and_derivative(z: Tensor) -> tuple[Tensor, Tensor]:
    """Return GELU(z) and GELU'(z), shaped as z, without gradient. Those of half-precision z are computed in float32.

    The numbers in z are lost: the derivative may be written in their place, which saves a pass over new memory.
    """
    if z.is_cuda:
        return by_two_kernels(z.detach())
    wide = z.detach().to(torch.promote_types(z.dtype, torch.float32)).contiguous()
    value, derivative = torch.empty_like(wide), wide
    size = PIECE if z.device.type == "cpu" else wide.numel()
    for piece in zip(*(torch.split(x.flatten(), size) for x in (wide, value, derivative)), strict=True):
        _write(*piece)
    return value.to(z.dtype), derivative.to(z.dtype)


def by_two_kernels(z: Tensor) -> tuple[Tensor, Tensor]:
    """Return GELU(z) and GELU'(z) by ATen's kernels. They, too, compute in float32 if z has half precision."""
    one = constants(z.dtype, z.device)[2]
    return F.gelu(z, approximate="tanh"), torch.ops.aten.gelu_backward(one.expand_as(z), z, approximate="tanh")


def _write(z: Tensor, value: Tensor, derivative: Tensor) -> None:
    """Write GELU(z) and GELU'(z) in six passes over z. `derivative` may be z itself: z is read before it is written.

    p = SCALE (1 + CUBIC z^2), gate = sigmoid(p z), value = z gate. The derivative of p z is 3 p - 2 SCALE, so
    GELU' = gate + (value - value gate) (3 p - 2 SCALE).
    """
    scale, minus_two_scale, _ = constants(z.dtype, z.device)
    p = torch.addcmul(scale, z, z, value=CUBIC * SCALE)
    gate = (p * z).sigmoid_()
    torch.mul(z, gate, out=value)
    slope = torch.add(minus_two_scale, p, alpha=3.0, out=p)
    torch.addcmul(value, value, gate, value=-1.0, out=derivative)
    torch.addcmul(gate, derivative, slope, out=derivative)


@functools.cache
def constants(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return SCALE, -2 SCALE and 1 as scalars on the device."""
    with torch.inference_mode(False):  # training also uses these scalars, and it cannot use inference tensors
        scale, minus_two_scale, one = torch.tensor([SCALE, -2.0 * SCALE, 1.0], dtype=dtype, device=device).unbind()
    return scale, minus_two_scale, one
