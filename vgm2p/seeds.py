"""The seed axis S: initialisation per (seed, parameter name), and what is done once per seed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vgm2p.nn.linear import Linear
from vgm2p.rng import glorot_limit, initial


def initialise(module: nn.Module, seeds: Sequence[int], name: str) -> None:
    """Fill every stacked Linear with Glorot uniform weights and zero biases.

    Weight s (and ensemble member m) is a function of (seeds[s], its name, m) alone, so that a run with S seeds starts
    exactly where S single runs start.
    """
    for path, layer in module.named_modules():
        if isinstance(layer, Linear):
            _fill(layer, seeds, f"{name}.{path}.weight")


@torch.no_grad()
def _fill(layer: Linear, seeds: Sequence[int], name: str) -> None:
    out_dim, in_dim = layer.weight.shape[-2:]
    limit = glorot_limit(in_dim, out_dim)
    members = layer.weight.flatten(1, -3) if layer.weight.dim() == 4 else layer.weight.unsqueeze(1)
    for s, seed in enumerate(seeds):
        for m in range(members.shape[1]):
            members[s, m] = initial((out_dim, in_dim), limit, seed, f"{name}.{m}")
    layer.bias.zero_()


def per_seed_norm(grads: Sequence[Tensor]) -> Tensor:
    """Return the Euclidean norm over all tensors per seed: each (S, ...) -> (S,)."""
    squares = torch.stack([grad.flatten(1).square().sum(1) for grad in grads])
    return squares.sum(0).sqrt()


def broadcast(values: Tensor, like: Tensor) -> Tensor:
    """Return per-seed values (S,) shaped to multiply `like` (S, ...)."""
    return values.reshape(-1, *[1] * (like.dim() - 1))
