"""GELU (tanh form, as flax) written so that value and derivative share their work.

`gelu_tanh(z) = z * sigmoid(2 sqrt(2/pi) (z + 0.044715 z^3))`. ATen's kernel evaluates a tanh in the forward pass and
again in the backward pass; one sigmoid serves both here.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

SCALE = 2.0 * math.sqrt(2.0 / math.pi)
CUBIC = 0.044715


def gelu(z: Tensor) -> Tensor:
    """Return GELU(z), differentiable once; same shape as z."""
    if torch.is_grad_enabled():
        # a tensor without gradient may still be a dual number of torch.func: no custom function, nothing in place
        return _Gelu.apply(z)[0] if z.requires_grad else z * torch.sigmoid(SCALE * (z + CUBIC * z**3))
    return (z * z).mul_(CUBIC * SCALE).add_(SCALE).mul_(z).sigmoid_().mul_(z)


def gelu_with_derivative(z: Tensor) -> tuple[Tensor, Tensor]:
    """Return GELU(z), differentiable once, and GELU'(z) without gradient."""
    value, derivative = _Gelu.apply(z)
    return value, derivative


def _value_and_derivative(z: Tensor) -> tuple[Tensor, Tensor]:
    square = z * z
    gate = (square * (CUBIC * SCALE)).add_(SCALE).mul_(z).sigmoid_()
    value = z * gate
    # d(z gate)/dz = gate + z gate (1 - gate) * SCALE (1 + 3 CUBIC z^2) = gate + (value - value gate) * slope
    slope = square.mul_(3.0 * CUBIC * SCALE).add_(SCALE)
    derivative = torch.addcmul(value, value, gate, value=-1.0).mul_(slope).add_(gate)
    return value, derivative


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor) -> tuple[Tensor, Tensor]:
        value, derivative = _value_and_derivative(z)
        ctx.save_for_backward(derivative)
        ctx.mark_non_differentiable(derivative)
        return value, derivative

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:  # grads: of the value, of the (non-differentiable) derivative
        return grads[0] * ctx.saved_tensors[0]
