"""GELU (tanh form, as flax) written so that value and derivative share their work.

`gelu_tanh(z) = z * sigmoid(2 sqrt(2/pi) (z + 0.044715 z^3))`. ATen's kernel evaluates a tanh in the forward pass and
again in the backward pass; one sigmoid serves both here.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

SCALE = 2.0 * math.sqrt(2.0 / math.pi)
CUBIC = 0.044715


def gelu(z: Tensor) -> Tensor:
    """Return GELU(z), same shape as z, without gradient."""
    z = z.detach()
    return (z * z).mul_(CUBIC * SCALE).add_(SCALE).mul_(z).sigmoid_().mul_(z)


def value_and_derivative(z: Tensor) -> tuple[Tensor, Tensor]:
    """Return GELU(z) and GELU'(z) without gradient; half-precision z is computed in float32.

    Seven passes over memory: p = SCALE (1 + CUBIC z^2), gate = sigmoid(p z), value = z gate, and since 3 p - 2 SCALE is
    the derivative of p z, GELU' = gate + (value - value gate) (3 p - 2 SCALE).
    """
    wide = z.detach() if z.dtype in (torch.float32, torch.float64) else z.detach().float()
    scale, minus_two_scale = constants(wide.dtype, wide.device)
    p = torch.addcmul(scale, wide, wide, value=CUBIC * SCALE)
    gate = (p * wide).sigmoid_()
    value = wide * gate
    slope = torch.add(minus_two_scale, p, alpha=3.0, out=p)
    derivative = torch.addcmul(value, value, gate, value=-1.0)
    torch.addcmul(gate, derivative, slope, out=derivative)
    return value.to(z.dtype), derivative.to(z.dtype)


@functools.cache
def constants(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return SCALE and -2 SCALE as scalars on the device."""
    return torch.tensor(SCALE, dtype=dtype, device=device), torch.tensor(-2.0 * SCALE, dtype=dtype, device=device)
