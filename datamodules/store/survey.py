"""Statistics of a dataset's observations, actions and returns, computed on request."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vgm2p.datamodules.store.rows import RowSource
from vgm2p.datamodules.store.table import TransitionTable
from vgm2p.envs.observation import statistics
from vgm2p.types import Survey

ROWS = 200_000  # largest number of transitions for quantiles; they are evenly spaced
OBS_BYTES = 1 << 28  # largest memory of the observations for quantiles
SLAB = 1 << 12  # number of rows gathered at once


def standardisation(source: RowSource, table: TransitionTable, obs_norm: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean and standard deviation (O,) for standardising observations, and a mask (O,) of constant features.

    Raises as `observation.statistics`.
    """
    rows = table.columns["rows"][:, 0]
    spec = source.spec
    with source.scanning():
        return statistics(
            lambda start, stop: source.scan(rows[start:stop]),
            len(rows),
            spec.n_agents,
            spec.obs_dim,
            spec.view,
            obs_norm,
        )


def survey(source: RowSource, table: TransitionTable, moments: tuple[Tensor, Tensor], gamma: float) -> Survey:
    """Return the statistics of a dataset.

    Quantiles use at most ROWS transitions, evenly spaced. Those of observations and actions include every agent.

    Args:
        source: rows of the dataset.
        table: transitions of the dataset.
        moments: mean and standard deviation (O,), from `standardisation`.
        gamma: discount factor of the returns. `return_quantile` raises ConfigError if it is not below 1.
    """
    mean, std = moments
    spec = source.spec

    def obs_quantiles(knots: int) -> Tensor:
        rows = _spaced(table, min(ROWS, OBS_BYTES // (4 * spec.n_agents * spec.obs_dim)))
        found = torch.cat([source.observations(part).cpu().flatten(0, 1) for part in torch.split(rows, SLAB)])
        return quantiles(found.sub_(mean).div_(std), knots)

    def action_quantiles(knots: int) -> Tensor:
        rows = _spaced(table, ROWS)
        return quantiles(
            torch.cat([source.actions(part).cpu().flatten(0, 1) for part in torch.split(rows, SLAB)]), knots
        )

    def return_quantile(share: float) -> Tensor:
        return torch.tensor(np.quantile(table.returns_to_go(gamma), share), dtype=torch.float32)

    def return_moments() -> tuple[Tensor, Tensor]:
        to_go, weight = table.returns_to_go(gamma).astype(float), table.returns_seen(gamma).astype(float) ** 2
        centre = np.average(to_go, weights=weight)
        spread = np.sqrt(np.average((to_go - centre) ** 2, weights=weight))
        return torch.tensor(centre, dtype=torch.float32), torch.tensor(spread, dtype=torch.float32)

    actions = None if spec.discrete else action_quantiles
    return Survey(mean, std, obs_quantiles, actions, return_quantile, return_moments)


def _spaced(table: TransitionTable, most: int) -> Tensor:
    """Return the rows of at most `most` transitions, evenly spaced from the first to the last."""
    rows = table.columns["rows"][:, 0]
    if len(rows) <= most:
        return rows
    return rows[torch.linspace(0, len(rows) - 1, most, dtype=torch.float64, device=rows.device).long()]


def quantiles(values: Tensor, knots: int) -> Tensor:
    """Return `knots` quantiles from 0 to 1 of every column: (M, D) -> (D, knots) float32, ascending in each row."""
    shares = np.linspace(0.0, 1.0, knots)
    columns = (values[:, i].double().numpy() for i in range(values.shape[1]))
    found = np.stack([np.quantile(column, shares) for column in columns])
    return torch.from_numpy(found).float()
