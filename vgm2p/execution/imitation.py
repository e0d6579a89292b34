"""How a policy's actions compare with those of the best recorded episodes: without a simulator and without a critic."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vgm2p.algos.contract import Algorithm
from vgm2p.datamodules.layout.sampling import ESS, by_return
from vgm2p.datamodules.store.transitions import TransitionStore
from vgm2p.execution.replay import OnStep, acts
from vgm2p.rng import UpdateKey, derive
from vgm2p.types import Acting

DRAWS = 8  # actions that the policy draws at every observation
MASS = 0.99  # share of the draws by return whose episodes are looked at; the others hold the rest
WIDTHS = np.geomspace(0.02, 1.0, 25)  # of the kernel, for continuous actions in [-1, 1]
SLIPS = np.geomspace(0.005, 1.0, 25)  # share of an agent's actions that the kernel takes for any one, for discrete ones


@dataclass(frozen=True)
class Likeness:
    """A policy in one way to act, beside what the best episodes did. Means over their steps, drawn by return.

    Attributes:
        errors: (S,) per training seed: mean squared difference of an action component; of discrete actions, the share
            of agents' actions that differ.
        likelihoods: (S,) log likelihood of the team's action, in nats. The density is the mean of a kernel around each
            of the policy's draws, with the width that suits best. So it tells whether the agents do together what was
            done together. Noise in the data, which the width can express, does not count.
    """

    errors: NDArray[np.float64]
    likelihoods: NDArray[np.float64]


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


def compare(
    algorithm: Algorithm,
    store: TransitionStore,
    seed: int,
    acting: Acting | None = None,
    on_step: OnStep = lambda done, total: None,
) -> Likeness:
    """Let a policy act in the situations of the best episodes, and compare its actions with what was done.

    Args:
        algorithm: the policy, on the device where the data are.
        store: the dataset.
        seed: of the policy's draws.
        acting: a way to act other than the policy's own.
        on_step: called with the steps done and their total; it may raise to end the work.
    """
    chosen, probability = best_episodes(store)
    device = algorithm.obs_mean.device
    weight = np.zeros(len(store.dataset.steps["t"]))  # of every row; final observations have none
    for start, length, p in zip(
        *(store.dataset.episodes[n][chosen] for n in ("start", "length")), probability, strict=True
    ):
        weight[start : start + length] = p
    key = UpdateKey([derive("acting", derive("imitation", seed, one)) for one in algorithm.seeds], device)
    S = len(algorithm.seeds)
    errors, density = torch.zeros(S, dtype=torch.float64), torch.zeros(S, len(WIDTHS), dtype=torch.float64)
    kernel: Kernel = _discrete if algorithm.spec.discrete else _continuous
    for rows, drawn in acts(algorithm, store, key, DRAWS, acting, on_step, chosen):
        recorded = store.rows.actions(torch.from_numpy(rows).to(store.rows.device)).to(device)
        error, log_kernel = kernel(drawn, recorded, algorithm.spec.action_dim)
        w = torch.from_numpy(weight[rows]).to(device)
        errors += (error * w).sum(1).cpu()
        density += ((log_kernel.logsumexp(2) - math.log(DRAWS)) * w[:, None]).sum(1).cpu()
    total = weight.sum()
    return Likeness((errors / total).numpy(), (density / total).amax(1).numpy())


Kernel = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]  # -> error (S, R), log kernels (S, R, K, widths)


def _continuous(drawn: Tensor, recorded: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Normal kernels around draws (S, R, K, N, A), at recorded actions (R, N, A)."""
    square = (drawn - recorded.unsqueeze(1)).double().square().flatten(3)  # (S, R, K, N * A)
    h = torch.from_numpy(WIDTHS).to(square.device)
    count = square.shape[-1]
    log_kernel = -square.sum(-1, keepdim=True) / (2.0 * h**2) - count * (h.log() + 0.5 * math.log(2.0 * math.pi))
    return square.mean((2, 3)), log_kernel


def _discrete(drawn: Tensor, recorded: Tensor, actions: int) -> tuple[Tensor, Tensor]:
    """Kernels around draws (S, R, K, N): each agent's action is that of the draw, or any one with a small share."""
    same = (drawn == recorded.unsqueeze(1)).double().unsqueeze(-1)  # (S, R, K, N, 1)
    slip = torch.from_numpy(SLIPS).to(same.device)
    return 1.0 - same.mean((2, 3, 4)), ((1.0 - slip) * same + slip / actions).log().sum(3)
