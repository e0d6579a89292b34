"""How good a policy is, from data alone: critics are fitted to one part of the episodes and read on the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vgm2p.algos.contract import Algorithm
from vgm2p.config.words import EstimateSettings
from vgm2p.datamodules.layout.schema import INCOMPLETE, TERMINAL
from vgm2p.datamodules.offline import Blocks
from vgm2p.datamodules.store.gather import gather
from vgm2p.datamodules.store.transitions import TransitionStore
from vgm2p.errors import ConfigError
from vgm2p.execution.fitted_q import FittedQ
from vgm2p.execution.replay import replay
from vgm2p.groups import Optim
from vgm2p.rng import UpdateKey, derive
from vgm2p.types import Acting, Needs

BLOCK = 50  # updates between looks at the clock and at the stop flag
READINGS = 20  # times that the values are read, about; the estimate is the mean of the last quarter
AT_ONCE = 256  # episodes whose values are read together

Progress = Callable[[str, int, int], None]  # what is done (`step` of a replay, `update`), how many of them, of how many


@dataclass(frozen=True)
class Evidence:
    """What the data themselves say, and which part of them critics may learn from.

    Attributes:
        held: (E,) numbers of the episodes on which values are read, ascending.
        counts: (C, episodes) how often each critic's sample holds an episode; 0 for those held out.
        values: (episodes,) discounted return of each, as the critics' targets have it.
        returns: (episodes,) undiscounted return of each.
        factor: returns per discounted return, if a step pays the same at every time: steps of an episode over its
            discounted steps.
        support: least and largest discounted return that the rewards of the data allow.
        scale: 1 / deviation of the discounted returns.
    """

    held: NDArray[np.int64]
    counts: NDArray[np.float32]
    values: NDArray[np.float64]
    returns: NDArray[np.float64]
    factor: float
    support: tuple[float, float]
    scale: float

    @property
    def best(self) -> float:
        """Return the largest discounted return of an episode."""
        return float(np.nanmax(self.values))


@dataclass(frozen=True)
class Values:
    """What critics say of a policy.

    Attributes:
        table: (S, C, E) value at the first step of every held-out episode, for seeds and members.
        drift: (S,) its mean in the last quarter of the updates less that in the quarter before.
    """

    table: NDArray[np.float64]
    drift: NDArray[np.float64]


def evidence(store: TransitionStore, settings: EstimateSettings) -> Evidence:
    """Split the episodes of a dataset, and summarise them. Raises ConfigError where there is nothing to split."""
    episodes, gamma = store.dataset.episodes, settings.gamma
    length = episodes["length"].astype(np.int64)
    usable = np.flatnonzero(length)
    if len(usable) < 2:
        raise ConfigError("the dataset has one episode; an estimate needs two or more, to learn from and to be read on")
    random = np.random.default_rng(derive("estimate", "episodes", settings.seed))
    count = min(max(1, round(settings.share * len(usable))), len(usable) - 1)
    held = np.sort(random.permutation(usable)[:count])
    learnt = np.setdiff1d(usable, held)
    counts = np.zeros((settings.critics, len(length)), np.float32)
    counts[:, learnt] = random.multinomial(len(learnt), np.full(len(learnt), 1 / len(learnt)), size=settings.critics)
    to_go = store.table.returns_to_go(gamma).astype(np.float64)
    values = np.full(len(length), np.nan)
    values[usable] = to_go[(np.cumsum(length) - length)[usable]]
    rewards = store.table.columns["scalars"][:, 0]
    low, high = float(rewards.min()), float(rewards.max())
    spread = float(to_go.std())
    scale = 1.0 / spread if spread > 1e-6 * np.abs(to_go).max() else 1.0 / max(1.0, float(np.abs(to_go).max()))
    return Evidence(
        held,
        counts,
        values,
        episodes["return"].astype(np.float64),
        _factor(store, length[usable], episodes["end"][usable], gamma),
        (min(low, low / (1.0 - gamma)), max(high, high / (1.0 - gamma))),
        scale,
    )


def _factor(store: TransitionStore, length: NDArray[np.int64], end: NDArray[np.uint8], gamma: float) -> float:
    """Return steps over discounted steps, both as means over episodes; those that were cut are taken to go on."""
    over = end != INCOMPLETE if store.table.timeouts == "terminal" else end == TERMINAL
    discounted = (1.0 - np.where(over, gamma**length, 0.0)) / (1.0 - gamma)
    return float(length.mean() / discounted.mean())


def estimate(
    algorithm: Algorithm,
    store: TransitionStore,
    found: Evidence,
    settings: EstimateSettings,
    acting: Acting | None = None,
    progress: Progress = lambda what, done, total: None,
) -> Values:
    """Fit critics to a policy on a dataset, all seeds of the policy together, and read them on held-out episodes.

    Args:
        algorithm: the policy, on the device where the data are.
        store: the dataset.
        found: what `evidence` returned for it.
        settings: how to do it.
        acting: a way to act other than the policy's own.
        progress: called between steps; it may raise to end the work.
    """
    fit = _Fit(algorithm, store, found, settings, acting, progress)
    every = max(1, settings.updates // READINGS)
    readings: list[Tensor] = []
    for first, last in Blocks(0, settings.updates, BLOCK, [every]):
        progress("update", first, settings.updates)
        for update in range(first, last):
            fit.update(update)
        if last % every == 0:
            readings.append(fit.read())
    progress("update", settings.updates, settings.updates)
    quarter = max(1, len(readings) // 4)
    ends = (readings[-quarter:], readings[-2 * quarter : -quarter])
    late, before = (torch.stack(part).double().mean(0) for part in ends)
    return Values(late.cpu().numpy(), (late - before).mean((1, 2)).cpu().numpy())


class _Fit:
    """Critics, the policy's actions, and where the batches come from."""

    def __init__(
        self,
        algorithm: Algorithm,
        store: TransitionStore,
        found: Evidence,
        settings: EstimateSettings,
        acting: Acting | None,
        progress: Progress,
    ) -> None:
        device = algorithm.obs_mean.device
        self.store, self.settings, self.needs = store, settings, Needs(history=algorithm.history)
        seeds = [derive("estimate", settings.seed, seed) for seed in algorithm.seeds]
        acts = UpdateKey([derive("acting", seed) for seed in seeds], device)
        self.key = UpdateKey(seeds, device)
        self.actions = replay(algorithm, store, acts, settings.draws, acting, lambda *step: progress("step", *step))
        survey = store.survey(settings.gamma)
        self.critics = FittedQ(
            store.spec,
            seeds,
            algorithm.history,
            settings.critics,
            settings.net,
            Optim(settings.lr, decay_updates=settings.updates),
            settings.gamma,
            settings.tau,
            found.scale,
            (survey.mean, survey.std),
            device,
        )
        length = store.dataset.episodes["length"].astype(np.int64)
        episode = np.repeat(np.arange(len(length)), length)  # of every transition
        self._learnt = torch.from_numpy(np.flatnonzero(~np.isin(episode, found.held))).to(device)
        self._episode = torch.from_numpy(episode).to(device)
        self._counts = torch.from_numpy(found.counts).to(device)
        first = torch.from_numpy(store.dataset.episodes["start"][found.held].astype(np.int64))
        self._first = store.rows.observations(first.to(store.rows.device)).to(device)
        self._first_actions = self._stored(self.actions[:, first.to(device)])

    def update(self, update: int) -> None:
        """Do one update of all critics; nothing waits for the device."""
        key, shape = self.key.at(update), (self.settings.batch,)
        index = self._learnt[key.integers("batch", shape, len(self._learnt))]  # (S, B)
        batch = gather(self.store.rows, self.store.table, index.to(self.store.rows.device), self.needs)
        batch = batch.map(lambda x: x.to(index.device))
        following = self.store.table.take("rows", index.to(self.store.rows.device))[..., 1].to(index.device)
        seed = torch.arange(len(index), device=index.device)[:, None]
        draw = key.integers("draw", shape, self.settings.draws)
        weight = self._counts[:, self._episode[index]].transpose(0, 1)  # (S, C, B)
        self.critics.update(batch, self._stored(self.actions[seed, following, draw]), weight)

    def read(self) -> Tensor:
        """Return the values at the first steps of held-out episodes: (S, C, E)."""
        parts = zip(torch.split(self._first, AT_ONCE), torch.split(self._first_actions, AT_ONCE, 1), strict=True)
        return torch.cat([self.critics.values(obs, action) for obs, action in parts], -1)

    def _stored(self, action: Tensor) -> Tensor:
        return action.long() if self.store.spec.discrete else action
