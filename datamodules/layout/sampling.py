"""Drawing steps by return: the steps of an episode with return R get weight exp(R / T), with a temperature T.

Published for single agents by Hong et al., "Harnessing Mixed Offline Reinforcement Learning Datasets via Trajectory
Weighting", ICLR 2023. There, T is a number that the user chooses; here it follows from an effective sample size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vgm2p.datamodules.layout.outcomes import known_returns, rounded_returns
from vgm2p.datamodules.layout.schema import Columns
from vgm2p.errors import ConfigError
from vgm2p.io.text import shown

ESS = 0.1  # if none is given: the share of our own trials
WIDEST = 60.0  # exp(-WIDEST) .. exp(WIDEST) times the range of the returns: between them lies every useful temperature
HALVINGS = 200  # halve the interval of log T; more than a float64 can resolve


@dataclass(frozen=True)
class Sampling:
    """How the steps of a dataset are drawn.

    Attributes:
        temperature: T, in units of the return. 0: only the episodes with the highest return; None: all steps alike.
        ess: effective sample size (sum w)^2 / sum w^2 over the steps, as a share of the number of steps.
        return_mean: mean return of the drawn steps' episodes.
        episodes: number of episodes that hold half of the draws, the fewest that do.
        probabilities: (E,) float64, probability of one step of each episode.
    """

    temperature: float | None
    ess: float
    return_mean: float
    episodes: int
    probabilities: Any

    @property
    def facts(self) -> dict[str, Any]:
        """The numbers, for files and reports."""
        names = ("temperature", "ess", "return_mean", "episodes")
        return {name: getattr(self, name) for name in names}


def sampling_line(facts: Mapping[str, Any]) -> str:
    """Return `Sampling.facts` as text."""
    temperature, holds = facts["temperature"], "episode holds" if facts["episodes"] == 1 else "episodes hold"
    limits = {None: "all steps alike", 0.0: "only the episodes with the highest return"}
    how = limits.get(temperature)
    return (
        f"{how or f'temperature {temperature:.4g}'}, effective sample size {facts['ess']:.3g} of the steps, "
        f"mean return {shown(facts['return_mean'])}; {facts['episodes']} {holds} half of the draws"
    )


def check_ess(ess: float) -> None:
    """Raise ConfigError for an effective sample size that is no share."""
    if not 0.0 < ess <= 1.0:
        raise ConfigError(f"data.ess must be above 0 and at most 1, got {ess}")


def by_return(columns: Columns, ess: float) -> Sampling:
    """Return how steps are drawn by exp(return of their episode / T).

    T is the temperature with the given effective sample size. Where the episodes with the highest return hold more
    steps than that, only they are drawn, all their steps alike. Incomplete episodes, whose return is not known, are
    drawn only if there are no others.

    Args:
        columns: the dataset. Its wide columns are not used.
        ess: effective sample size as a share of the steps, above 0 and at most 1; else ConfigError.
    """
    check_ess(ess)
    returns = rounded_returns(columns)
    lengths = columns.episodes["length"].astype(np.float64)
    held = known_returns(columns)
    temperature = _temperature(returns[held], lengths[held], ess)
    weights = np.zeros(len(returns))
    weights[held] = _weights(returns[held], temperature)
    probabilities = weights / (weights * lengths).sum()
    mass = probabilities * lengths
    half = int(np.searchsorted(np.cumsum(np.sort(mass)[::-1]), 0.5 - 1e-12)) + 1
    return Sampling(temperature, _share(weights, lengths), float(mass @ returns), half, probabilities)


def _temperature(returns: Any, lengths: Any, ess: float) -> float | None:
    """Return T. The effective sample size grows with T, so that an interval of log T can be halved."""
    spread = float(np.ptp(returns))
    if ess == 1.0 or spread == 0.0:
        return None
    if _share(_weights(returns, 0.0), lengths) >= ess:
        return 0.0
    low, high = math.log(spread) - WIDEST, math.log(spread) + WIDEST
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if _share(_weights(returns, math.exp(middle)), lengths) < ess:
            low = middle
        else:
            high = middle
    return math.exp(high)


def _weights(returns: Any, temperature: float | None) -> Any:
    """Return exp((R - max R) / T). In the limit T = 0, the best episodes have weight 1, the others 0."""
    below = returns.max() - returns
    if temperature == 0.0:
        return (below == 0.0).astype(np.float64)
    return np.ones(len(returns)) if temperature is None else np.exp(-below / temperature)


def _share(weights: Any, lengths: Any) -> float:
    """Return the effective sample size as a share of the steps."""
    return float((weights @ lengths) ** 2 / ((weights**2) @ lengths) / lengths.sum())
