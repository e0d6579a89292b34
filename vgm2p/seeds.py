"""The seed axis S: initial weights as a function of (seed, role), and operations per seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn


class SeededLayer(nn.Module):
    """A layer that initialises its own parameters, each (S, ...).

    `kind` names this type of layer in a role (see `roles`). It stays the same when the class is renamed. Two classes
    may share one `kind`.
    """

    kind: ClassVar[str] = "layer"

    def initialise(self, seeds: Sequence[int], role: str) -> None:
        """Fill the parameters of seed s from (seeds[s], role) alone."""
        raise NotImplementedError


class SeededBody(nn.Module):
    """A group of layers in a network, such as an MLP. It gives each of its layers a name."""

    kind: ClassVar[str] = "body"

    def parts(self) -> Iterator[tuple[str, SeededLayer]]:
        """Yield every layer with its name in the body, for example `hidden.0`."""
        raise NotImplementedError


def initialise(modules: Iterable[nn.Module], seeds: Sequence[int], name: str) -> None:
    """Initialise every layer of `modules`. A run with S seeds gets exactly the weights of S single runs.

    Args:
        modules: networks; their order is part of the roles.
        seeds: S training seeds.
        name: name of the optimiser that trains the modules.

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

    A role consists of `name`, the number of the module, the kind of the body, and the layer's name in the body:
    `critic.0.mlp.hidden.1`. A layer outside any body ends the role with its own kind. The second body of a kind in one
    module is `mlp[1]`. If the module itself is a body or a layer, its kind is left out: `policy.0.hidden.1`. Names of
    attributes are not part of a role.
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
    """Yield the bodies, and the layers outside bodies, each once: depth first, in the order of registration."""
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
                    f"{where} belongs to no layer that is initialised per seed; "
                    "use the layers of vgm2p.nn, or write a subclass of vgm2p.seeds.SeededLayer"
                )
            if parameter.dim() == 0 or len(parameter) != seeds:
                raise ValueError(f"{where} has shape {tuple(parameter.shape)}; its first axis must have length {seeds}")


def per_seed_norm(grads: Sequence[Tensor]) -> Tensor:
    """Return the Euclidean norm of all tensors together, per seed: each (S, ...) -> (S,)."""
    squares = torch.stack([grad.flatten(1).square().sum(1) for grad in grads])
    return squares.sum(0).sqrt()


def broadcast(values: Tensor, like: Tensor) -> Tensor:
    """Reshape values per seed (S,) so that they broadcast with `like` (S, ...)."""
    return values.reshape(-1, *[1] * (like.dim() - 1))
