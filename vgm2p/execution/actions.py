"""Checks what a policy returns: a fault of the policy must not look like a fault of the environment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vgm2p.errors import ConfigError
from vgm2p.types import Actor, Spec

OURS = "vgm2p.algos."


def policy_name(actor: Any) -> str:
    """Return the name of an actor's algorithm: `bc_flow` for one of ours, `module.Class` for another class."""
    inner = getattr(actor, "actor", actor)  # of a policy with exploration noise
    cls = type(inner)
    return cls.__module__.removeprefix(OURS) if cls.__module__.startswith(OURS) else f"{cls.__module__}.{cls.__name__}"


def unsound_weights(actor: Actor, seeds: Sequence[int]) -> dict[int, str]:
    """Return seed position -> line, for the seeds that have weights which are NaN or infinite."""
    inner = getattr(actor, "actor", actor)
    if not isinstance(inner, nn.Module):
        return {}
    count = len(getattr(inner, "seeds", seeds))
    sound = torch.ones(count, dtype=torch.bool)
    for parameter in inner.parameters():
        if parameter.dim() and len(parameter) == count:
            sound &= parameter.detach().reshape(count, -1).isfinite().all(1).cpu()
    bad = [s for s in (~sound).nonzero().flatten().tolist() if s < len(seeds)]
    return {s: f"policy of {policy_name(actor)}, seed {seeds[s]}: its weights are not finite" for s in bad}


def usable(actor: Actor, action: Any, spec: Spec, seeds: int, rows: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return the actions of S seeds and E episodes for the environment, (S * E, N, A) or (S * E, N), and which are not.

    An action that is not finite, or is no index of an action, is not usable; it is replaced by 0.

    Raises:
        ConfigError: if the policy returns something of another shape or kind.
    """
    shape = (seeds, rows // seeds, spec.n_agents, *(() if spec.discrete else (spec.action_dim,)))
    if not isinstance(action, Tensor) or action.shape != shape or action.is_floating_point() == spec.discrete:
        given = f"{action.dtype} {tuple(action.shape)}" if isinstance(action, Tensor) else type(action).__name__
        kind = "index" if spec.discrete else "float"
        raise ConfigError(f"policy of {policy_name(actor)}: act must return {kind} tensors {shape}, got {given}")
    found = action.flatten(0, 1).float() if action.dtype == torch.bfloat16 else action.flatten(0, 1)
    actions: NDArray[Any] = found.cpu().numpy()
    wrong = (actions < 0) | (actions >= spec.action_dim) if spec.discrete else ~np.isfinite(actions)
    if not wrong.any():
        return actions, np.zeros(rows, bool)
    bad: NDArray[np.bool_] = np.any(wrong.reshape(rows, -1), axis=1)
    return np.where(wrong, 0, actions), bad
