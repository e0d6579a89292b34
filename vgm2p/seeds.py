"""The seed axis S: initial weights as a function of (seed, role), and what is done once per seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn


class SeededLayer(nn.Module):
    """A layer that fills its own parameters, which begin with the seed axis: (S, ...).

    `kind` is a word of the layer's role (see `roles`): two classes may share one, and renaming the class keeps it.
    """

    kind: ClassVar[str] = "layer"

    def initialise(self, seeds: Sequence[int], role: str) -> None:
        """Fill the parameters of seed s from (seeds[s], role) alone."""
        raise NotImplementedError


class SeededBody(nn.Module):
    """Layers that have one role in a network; the body says which part of it each layer plays."""

    kind: ClassVar[str] = "body"

    def parts(self) -> Iterator[tuple[str, SeededLayer]]:
        """Yield every layer and its name in the body, for example `hidden.0`."""
        raise NotImplementedError


def initialise(modules: Iterable[nn.Module], seeds: Sequence[int], name: str) -> None:
    """Fill every layer of `modules`, so that a run with S seeds starts exactly where S single runs start.

    Args:
        modules: networks, in an order that is part of the roles.
        seeds: S training seeds.
        name: of the optimiser that trains the modules.

    Raises:
        ValueError: if a parameter belongs to no SeededLayer, or has no seed axis.
    """
    members = list(modules)
    found = list(roles(members, name))
    _check_parameters(members, [layer for _, layer in found], len(seeds), name)
    for role, layer in found:
        layer.initialise(seeds, role)


def roles(modules: Iterable[nn.Module], name: str) -> Iterator[tuple[str, SeededLayer]]:
    """Yield every layer of `modules` with its role, a text that no other layer has.

    A role is `name`, the number of the module, the kind of the body (or lone layer) in it, and the part that the layer
    plays in its body: `critic.0.mlp.hidden.1`. The second body of a kind in one module is `mlp[1]`. A module that is
    itself a body has no word for it: `policy.0.hidden.1`. Names of attributes do not enter.
    """
    met: set[int] = set()
    for number, module in enumerate(modules):
        counts: Counter[str] = Counter()
        for unit in _units(module, met):
            role = f"{name}.{number}"
            if unit is not module:
                count = counts[unit.kind]
                role += f".{unit.kind}[{count}]" if count else f".{unit.kind}"
                counts[unit.kind] += 1
            if isinstance(unit, SeededLayer):
                yield role, unit
            else:
                yield from ((f"{role}.{part}", layer) for part, layer in unit.parts())


def _units(module: nn.Module, met: set[int]) -> Iterator[SeededLayer | SeededBody]:
    """Yield bodies and the layers outside them, depth first in the order of registration, each once."""
    if id(module) in met:
        return
    met.add(id(module))
    if isinstance(module, SeededLayer | SeededBody):
        yield module
        return
    for child in module.children():
        yield from _units(child, met)


def _check_parameters(modules: list[nn.Module], layers: list[SeededLayer], seeds: int, name: str) -> None:
    owned = {id(parameter) for layer in layers for parameter in layer.parameters()}
    for module in modules:
        for path, parameter in module.named_parameters():
            where = f"optimiser '{name}': parameter '{path}' of {type(module).__name__}"
            if id(parameter) not in owned:
                raise ValueError(
                    f"{where} belongs to no layer that is filled per seed; "
                    "use the layers of vgm2p.nn, or write one as a subclass of vgm2p.seeds.SeededLayer"
                )
            if parameter.dim() == 0 or len(parameter) != seeds:
                raise ValueError(f"{where} has shape {tuple(parameter.shape)}, but must begin with the {seeds} seeds")


def per_seed_norm(grads: Sequence[Tensor]) -> Tensor:
    """Return the Euclidean norm over all tensors per seed: each (S, ...) -> (S,)."""
    squares = torch.stack([grad.flatten(1).square().sum(1) for grad in grads])
    return squares.sum(0).sqrt()


def broadcast(values: Tensor, like: Tensor) -> Tensor:
    """Return per-seed values (S,) shaped to multiply `like` (S, ...)."""
    return values.reshape(-1, *[1] * (like.dim() - 1))
