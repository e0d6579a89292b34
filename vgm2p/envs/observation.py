"""Builds the agents' observations of a robot, for data and environments (torch and numpy).

View `raw_onehot`: the robot's observation and the agent's one-hot. View `omiga`: this vector minus its own mean,
divided by its own population standard deviation, as in OMIGA's environment. View `native`: the vectors of the
environment, unchanged.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vgm2p.errors import ConfigError, nearest

STD_FLOOR = 1e-3
SLAB_ROWS = 1 << 12


def _same(x: Tensor) -> Tensor:
    return x


def _zscore(x: Tensor) -> Tensor:
    # in double precision, because the features differ by orders of magnitude; the data were built in this way
    wide = x.double()
    return (wide - wide.mean(-1, keepdim=True)) / wide.std(-1, keepdim=True, correction=0)


# view -> function of the vector [robot, one-hot]
VIEWS: dict[str, Callable[[Tensor], Tensor]] = {"raw_onehot": _same, "omiga": _zscore}


def agents_view(robot: Tensor, n_agents: int, view: str) -> Tensor:
    """Return the agents' observations (..., N, D + N) float32 for robot observations (..., D).

    Raises:
        ConfigError: if the view cannot be built from a robot's observation.
    """
    if view not in VIEWS:
        raise ConfigError(f"data.view='{view}' cannot be built from a robot's observation{nearest(view, VIEWS)}")
    identity = one_hots(n_agents, robot.dtype, robot.device)
    shared = robot.unsqueeze(-2).expand(*robot.shape[:-1], n_agents, -1)
    return VIEWS[view](torch.cat([shared, identity.expand(*shared.shape[:-1], -1)], dim=-1)).float()


@functools.cache
def one_hots(n_agents: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the agents' one-hots (N, N)."""
    with torch.inference_mode(False):  # training also uses the cached tensor, and it cannot use inference tensors
        return torch.eye(n_agents, dtype=dtype, device=device)


def agents_view_numpy(robot: NDArray[np.floating], n_agents: int, view: str) -> NDArray[np.float32]:
    """Return the same as `agents_view` for numpy arrays."""
    return agents_view(torch.from_numpy(robot), n_agents, view).numpy()


def robot_of_omiga(view: Tensor, n_agents: int) -> Tensor:
    """Undo the z-score of agent 0's vector: omiga vectors (..., N, D + N) -> robot observation (..., D).

    The two values `high` and `low` of the one-hot give the standard deviation 1 / (high - low) and the mean -low * std.
    """
    first = view[..., 0, :].double()
    high, low = first[..., -n_agents], first[..., -1]
    std = 1.0 / (high - low)
    return ((first[..., :-n_agents] - low.unsqueeze(-1)) * std.unsqueeze(-1)).float()


def recovery_error(vectors: NDArray[np.float32], n_agents: int) -> float:
    """Return the largest difference between omiga vectors (R, N, O) and those rebuilt from the recovered robot."""
    given = torch.from_numpy(np.ascontiguousarray(vectors))
    again = agents_view(robot_of_omiga(given, n_agents), n_agents, "omiga")
    return float((again - given).abs().max()) if len(vectors) else 0.0


def is_standardised(view: str, obs_norm: str) -> bool:
    """Return whether dataset statistics standardise the observations. Raises ConfigError for an unknown obs_norm."""
    if obs_norm not in ("auto", "dataset", "none"):
        raise ConfigError(f"data.obs_norm must be auto, dataset or none, got '{obs_norm}'")
    return obs_norm == "dataset" or (obs_norm == "auto" and view == "raw_onehot")


def statistics(
    rows: Callable[[int, int], Tensor], count: int, n_agents: int, obs_dim: int, view: str, obs_norm: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean and deviation (O,) that standardise observations, and a mask (O,) of the constant features.

    Mean and deviation are 0 and 1 for features that stay unchanged.

    `auto` standardises only the robot features of `raw_onehot`, by the dataset's mean and standard deviation (at least
    1e-3, computed in float64). The one-hot stays unchanged. A feature that is equal in all rows is constant: its
    deviation is 1, because any other scale would be a guess, and acting may show values that the data do not. Rows are
    added in slabs of fixed size. So data on disk give the same bits as data in memory, and need little memory.

    Args:
        rows: (start, stop) -> rows start .. stop - 1 of all rows with an action: (R, D) robot, or (R, N, O) native.
        count: number of rows with an action.
        n_agents: number of agents N.
        obs_dim: width O of an observation.
        view: name of the view.
        obs_norm: `auto`, `dataset` or `none`.

    Raises:
        ConfigError: for an unknown obs_norm.
    """
    if not is_standardised(view, obs_norm):
        return torch.zeros(obs_dim), torch.ones(obs_dim), torch.zeros(obs_dim, dtype=torch.bool)

    def features(start: int) -> Tensor:
        found = rows(start, min(start + SLAB_ROWS, count))
        if view == "omiga":  # the statistics are those of the z-scored vectors
            found = agents_view(found, n_agents, view)
        return found.reshape(-1, found.shape[-1]).double()

    one = features(0)
    near, value = one.mean(0), one[0]  # squares are summed around a point near the mean, to avoid cancellation
    constant = torch.ones_like(near, dtype=torch.bool)
    total, first, second = 0, torch.zeros_like(near), torch.zeros_like(near)
    for start in range(0, count, SLAB_ROWS):
        found = features(start)
        constant &= (found == value).all(0)
        away = found - near
        total, first, second = total + len(away), first + away.sum(0), second + away.square().sum(0)
    mean = near + first / total
    std = (second / total - (first / total).square()).clamp(min=0.0).sqrt().clamp(min=STD_FLOOR)
    std = torch.where(constant, torch.ones_like(std), std)
    tail = torch.zeros(obs_dim - len(mean), dtype=mean.dtype)  # the one-hot
    return torch.cat([mean, tail]).float(), torch.cat([std, tail + 1.0]).float(), torch.cat([constant, tail.bool()])


def in_slabs(rule: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """Return `rule(rows)`, computed in slabs that fit into the processor's cache. `rule` must work row by row."""
    first = rule(rows[:SLAB_ROWS])
    out = torch.empty((len(rows), *first.shape[1:]), dtype=first.dtype)
    for start in range(0, len(rows), SLAB_ROWS):
        out[start : start + SLAB_ROWS] = rule(rows[start : start + SLAB_ROWS])
    return out
