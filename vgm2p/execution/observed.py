"""Checks what a program gives to `TrainedPolicy.act`, and makes tensors of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vgm2p.errors import ConfigError
from vgm2p.types import Seen, Spec


def seen_by(spec: Spec, obs: Any, legal: Any = None, reward: Any = None) -> Seen:
    """Return one step of E episodes as tensors with a seed axis of length 1. One episode without an axis E: E = 1.

    Args:
        spec: the task.
        obs: (N, O) or (E, N, O) numbers.
        legal: (N, A) or (E, N, A) truth values; discrete actions need them, continuous ones have none.
        reward: () or (E,) numbers; None: not known.

    Raises:
        ConfigError: for another shape, for a number that is not finite, and for an agent without a legal action.
    """
    if (legal is None) == spec.discrete:
        raise ConfigError(f"legal: {'give' if spec.discrete else 'leave out'} the legal actions of {spec.env_id}")
    step = (spec.n_agents, spec.obs_dim)
    values = _numbers(obs, "obs", step)
    if values.shape[-2:] != step or values.ndim not in (2, 3) or not values.size:
        raise ConfigError(f"obs has shape {values.shape}; give {step}, all agents, or (E, {step[0]}, {step[1]})")
    episodes = values.shape[:-2]
    _require_finite(values, "obs")
    allowed = None
    if legal is not None:
        allowed = torch.from_numpy(_mask(legal, (*episodes, spec.n_agents, spec.action_dim)))
    earned = None
    if reward is not None:
        numbers = _numbers(reward, "reward", episodes)
        _require_shape(numbers, "reward", episodes)
        _require_finite(numbers, "reward")
        earned = torch.tensor(numbers).reshape(1, -1)
    shown = torch.tensor(values)
    return Seen(
        shown.reshape(1, -1, *shown.shape[-2:]),
        None if allowed is None else allowed.reshape(1, -1, *allowed.shape[-2:]),
        earned,
    )


def _numbers(given: Any, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return an argument as an array. Raises ConfigError if it holds something else than numbers."""
    try:
        if np.iscomplexobj(given):
            raise TypeError
        with np.errstate(over="ignore"):  # a number beyond float32 becomes infinite, and is refused
            return np.asarray(given, np.float32)
    except (TypeError, ValueError, RuntimeError):  # RuntimeError: a tensor that requires a gradient
        raise ConfigError(f"{name}: give an array of numbers of shape {shape}") from None


def _mask(given: Any, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return legal actions as an array of truth values. Raises ConfigError if they are none."""
    values = _numbers(given, "legal", shape)
    _require_shape(values, "legal", shape)
    other: NDArray[np.bool_] = ~np.isin(values, (0, 1))
    if other.any():
        place = _place(other)
        raise ConfigError(f"legal holds {values[other][0]:g}{place}; give True or False (1 or 0) for each action")
    found: NDArray[np.bool_] = values != 0
    stuck: NDArray[np.bool_] = ~np.any(found, axis=-1)
    if stuck.any():
        raise ConfigError(f"legal allows no action{_place(stuck[..., None])}; at least one action must be legal")
    return found


def _require_shape(values: NDArray[Any], name: str, shape: tuple[int, ...]) -> None:
    if values.shape != shape:
        raise ConfigError(f"{name} has shape {values.shape}; give {shape}, the same step of all agents")


def _require_finite(values: NDArray[Any], name: str) -> None:
    wrong: NDArray[np.bool_] = ~np.isfinite(values)
    if wrong.any():
        place = _place(wrong) if name == "obs" else ""
        raise ConfigError(f"{name} has values that are not finite{place}; look where they come from")


def _place(wrong: NDArray[np.bool_]) -> str:
    """Return the agent, and the episode of a batch, of the first True in (..., N, width)."""
    index = np.argwhere(wrong)[0].tolist()
    return f" (agent {index[-2]}" + (f" of episode {index[0]})" if len(index) == 3 else ")")
