"""How well a policy does what the best recorded episodes did: a measure without a simulator and without a critic."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vgm2p.algos.contract import Algorithm
from vgm2p.datamodules.layout.sampling import ESS, by_return
from vgm2p.datamodules.store.transitions import TransitionStore
from vgm2p.execution.replay import replay
from vgm2p.rng import UpdateKey, derive
from vgm2p.types import Acting

MASS = 0.99  # share of the draws whose episodes are looked at; the others hold the rest


def best_episodes(store: TransitionStore) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the episodes that hold nearly all draws by return, and the probability of a step of each; both (E,).

    The draw has the usual effective sample size, `ESS`.
    """
    probability = by_return(store.dataset, ESS).probabilities
    mass = probability * store.dataset.episodes["length"]
    order = np.argsort(-mass, kind="stable")
    count = int(np.searchsorted(np.cumsum(mass[order]), MASS * mass.sum())) + 1
    chosen = np.sort(order[:count])
    return chosen, probability[chosen]


def errors(
    algorithm: Algorithm,
    store: TransitionStore,
    draws: int,
    seed: int,
    acting: Acting | None = None,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> NDArray[np.float64]:
    """Return how far a policy's actions are from those of the best episodes, per training seed: (S,).

    Continuous actions: the mean squared difference; discrete ones: the share of agents' actions that differ. It is the
    mean over the steps of `best_episodes`, drawn by return, over agents and over the policy's draws.

    Args:
        algorithm: the policy, on the device where the data are.
        store: the dataset.
        draws: actions that the policy draws at every observation.
        seed: of these draws.
        acting: a way to act other than the policy's own.
        on_step: called with the steps done and their total; it may raise to end the work.
    """
    chosen, probability = best_episodes(store)
    device = algorithm.obs_mean.device
    key = UpdateKey([derive("acting", derive("propose", seed, one)) for one in algorithm.seeds], device)
    actions = replay(algorithm, store, key, draws, acting, on_step, chosen)
    start, length = (store.dataset.episodes[name][chosen].astype(np.int64) for name in ("start", "length"))
    rows = torch.from_numpy(np.concatenate([np.arange(s, s + n) for s, n in zip(start, length, strict=True)]))
    weight = torch.from_numpy(np.repeat(probability, length)).to(device)
    recorded = store.rows.actions(rows.to(store.rows.device)).to(device).unsqueeze(1)  # (T, 1, N, A) or (T, 1, N)
    found = [_difference(drawn[rows.to(device)], recorded) for drawn in actions]  # of every seed: (T,)
    return np.array([float((one * weight).sum() / weight.sum()) for one in found])


def _difference(drawn: Tensor, recorded: Tensor) -> Tensor:
    """Return the mean difference of actions (T, K, N, A) or (T, K, N) from those of the data, per step: (T,)."""
    discrete = not drawn.is_floating_point()
    each = (drawn != recorded).double() if discrete else (drawn - recorded).double().square()
    return each.flatten(1).mean(1)
