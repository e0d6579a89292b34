"""Linear layers in the fastest form for the device. Tests compare each with a plain implementation.

On a CPU without gradient, oneDNN's fused operator adds the bias and applies the GELU while the product is still in the
cache. The operator is private to torch, and for bfloat16 it needs a suitable processor. Therefore `has_fused_gelu`
tests once per dtype whether it exists and computes correctly.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vgm2p.nn.fast.activation import gelu


@contextmanager
def tf32_products(on: bool) -> Iterator[None]:
    """Switch TF32 for float32 matrix products and convolutions on CUDA on or off in this block."""
    products, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high" if on else "highest")
    torch.backends.cudnn.allow_tf32 = on
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(products)
        torch.backends.cudnn.allow_tf32 = convolutions


def full_precision(device: str) -> AbstractContextManager[Any]:
    """Return a context in which operations on a device of this type (`cpu`, `cuda`) keep the dtype of their inputs.

    Outside an autocast region there is nothing to leave. Then it costs a tenth of torch's own context, 8 microseconds.
    """
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()


def affine(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return x weight^T + bias for x (R, in), weight (out, in), bias (out,); or each with a leading axis G."""
    if x.is_cuda and x.dim() == 3 and x.shape[0] == 1:  # faster: no copy of the bias, no batched product
        return F.linear(x[0], weight[0], None if bias is None else bias[0])[None]
    if x.dim() == 3:
        return torch.bmm(x, weight.mT) if bias is None else torch.baddbmm(bias[:, None], x, weight.mT)
    return F.linear(x, weight, bias)


def affine_gelu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return GELU(x weight^T + bias) without gradient; shapes as in `affine`."""
    if x.dim() == 2 and x.device.type == "cpu" and has_fused_gelu(x.dtype):
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "gelu", [], "tanh")  # type: ignore[no-any-return]
    with torch.no_grad():
        return gelu(affine(x, weight, bias))


def one_hot(index: Tensor, classes: int, dtype: torch.dtype) -> Tensor:
    """Return one-hots (..., classes) of indices (...). Torch's own function would wait for the device."""
    rows = torch.zeros(*index.shape, classes, dtype=dtype, device=index.device)
    return rows.scatter_(-1, index.unsqueeze(-1), 1.0)


@functools.cache
def has_fused_gelu(dtype: torch.dtype) -> bool:
    """Return whether oneDNN's fused linear + GELU exists here for `dtype` and computes correctly."""
    if dtype not in (torch.float32, torch.bfloat16):
        return False
    x, weight, bias = torch.linspace(-3, 3, 32).reshape(4, 8), torch.eye(8)[:5] + 0.1, torch.linspace(-1, 1, 5)
    try:
        found = torch.ops.mkldnn._linear_pointwise(x.to(dtype), weight.to(dtype), bias.to(dtype), "gelu", [], "tanh")
    except (AttributeError, RuntimeError):
        return False
    tolerance = 1e-5 if dtype == torch.float32 else 0.05  # bfloat16 has 8 significant bits; values are at most 5
    truth = F.gelu(F.linear(x, weight, bias), approximate="tanh")
    return torch.allclose(found.float(), truth, atol=tolerance, rtol=0.0)


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute small things on one CPU thread: on a busy machine, threads wait for each other, up to minutes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@functools.cache
def bfloat16_gain(rounds: int = 15) -> float:
    """Return how many times as fast as float32 matrices a core of this CPU multiplies bfloat16 ones; takes 0.1 s.

    With AMX, or with AVX512-BF16 on AMD's Zen 4, it is about 2 or more. On Intel's processors, AVX512-BF16 without AMX
    has half the throughput of float32.
    """
    pairs = [[torch.ones(rows, 512, dtype=dtype) for rows in (384, 512)] for dtype in (torch.float32, torch.bfloat16)]
    times: list[list[float]] = [[], []]
    with one_thread():
        for _ in range(rounds):
            for (x, weight), mine in zip(pairs, times, strict=True):
                began = time.process_time()
                F.linear(x, weight)
                mine.append(time.process_time() - began)
    return min(times[0]) / min(times[1])
