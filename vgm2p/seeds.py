"""The seed axis S: initialisation per (seed, parameter name), and what is done once per seed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class SeededLayer(nn.Module):
    """A layer whose parameters carry the seed axis and are a function of (seed, name)."""

    def initialise(self, seeds: Sequence[int], name: str) -> None:
        """Fill the parameters of seed s from (seeds[s], name) alone."""
        raise NotImplementedError


def initialise(module: nn.Module, seeds: Sequence[int], name: str) -> None:
    """Fill every layer of ours, so that a run with S seeds starts exactly where S single runs start."""
    for path, layer in module.named_modules():
        if isinstance(layer, SeededLayer):
            layer.initialise(seeds, f"{name}.{path}.weight")


def per_seed_norm(grads: Sequence[Tensor]) -> Tensor:
    """Return the Euclidean norm over all tensors per seed: each (S, ...) -> (S,)."""
    squares = torch.stack([grad.flatten(1).square().sum(1) for grad in grads])
    return squares.sum(0).sqrt()


def broadcast(values: Tensor, like: Tensor) -> Tensor:
    """Return per-seed values (S,) shaped to multiply `like` (S, ...)."""
    return values.reshape(-1, *[1] * (like.dim() - 1))
