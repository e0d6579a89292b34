"""Exact and statistical oracles of MA-ICQ's weights, through the product's own functions."""

from __future__ import annotations

import torch

from tests.oracles.one_state import batch_of, near, spec
from tests.oracles.table import Oracle
from tests.oracles.weighted import F64, STORED, Q, plain_limit
from vgm2p.algos.diagnostics import ess
from vgm2p.algos.ma_icq import MAICQ
from vgm2p.algos.parts import batch_softmax
from vgm2p.groups import Net


def shares(weight):
    """The policy (4,) that minimises weighted cloning of the ten rows: each action's share of the weights."""
    return torch.zeros(4, dtype=F64).index_add(0, STORED, weight.flatten()) / weight.sum()


def clone(beta):
    return shares(batch_softmax(Q[STORED][None], beta))


def clone_error():
    """At beta 5, against the closed form p exp(q / beta) / Z."""
    return (clone(5.0) - torch.tensor([0.412213, 0.138914, 0.280128, 0.168746], dtype=F64)).abs().max()


def clone_gradient():
    """The gradient of MA-ICQ's policy loss at its closed-form solution."""
    algorithm = MAICQ(spec(actions=4, discrete=True), [0], net=Net(4, 1)).double()
    with torch.no_grad():
        algorithm.policy.output.weight.zero_()
        algorithm.policy.output.bias.copy_(clone(5.0).log())
    batch = batch_of(STORED[:, None]).to(F64)
    weight = batch_softmax(Q[STORED][None, :, None], 5.0)
    loss, _ = algorithm.clone(batch, algorithm.encode(batch.obs), weight)
    return torch.autograd.grad(loss.sum(), algorithm.policy.output.bias)[0].abs().max()


def normal(*shape, source=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(source), dtype=F64)


def weight_shift():
    """A constant added to x leaves the weights as they are, and their mean is 1: largest error."""
    x = normal(3, 64, 5)
    weight = batch_softmax(x, 0.3)
    return max((batch_softmax(x + 300.0, 0.3) - weight).abs().max(), (weight.mean(1) - 1.0).abs().max())


def sample_size(beta):
    """Effective sample size of 64 weights of N(0, 1) advantages, mean over 1000 batches."""
    return 64 * ess(batch_softmax(normal(1000, 64), beta)).mean()


def optimism(sigma, beta, rows=20_000, batches=100):
    """E[w Q] - E[Q] for Q ~ N(0, sigma^2): how much a target gains in each backup."""
    q = sigma * normal(batches, rows)
    return (batch_softmax(q, beta) * q - q).mean()


MA_ICQ = [
    Oracle("ICQ1", "weighted clone, beta 5: probabilities", clone_error, "< 1e-6", lambda v: v < 1e-6),
    *(
        Oracle(
            f"ICQ2-{beta:g}",
            f"weighted clone, beta {beta:g}: E[q]",
            lambda beta=beta: (clone(beta) * Q).sum(),
            f"{known:g}",
            near(known, 1e-6),
        )
        for beta, known in ((5.0, 3.676235), (1.0, 7.837412), (1000.0, 2.106696), (0.1, 8.0))
    ),
    Oracle("ICQ3", "gradient of the policy's loss at the clone", clone_gradient, "< 1e-12", lambda v: v < 1e-12),
    Oracle("ICQ4", "weights: mean 1, no change by a constant", weight_shift, "< 1e-11", lambda v: v < 1e-11),
    Oracle(
        "ICQ5",
        "weights at beta 1e9: largest - 1",
        lambda: batch_softmax(normal(1, 64), 1e9).max() - 1.0,
        "< 1e-8",
        lambda v: 0.0 < v < 1e-8,
    ),
    *(
        Oracle(
            f"ICQ6-{beta:g}",
            f"effective rows of 64, beta {beta:g}",
            lambda beta=beta: sample_size(beta),
            f"{known:g} +- {by:g}",
            near(known, by),
        )
        for beta, known, by in ((0.1, 1.49, 0.1), (0.3, 3.8, 0.2), (1.0, 27.6, 0.6), (3.0, 57.4, 0.2))
    ),
    *(
        Oracle(
            f"ICQ7-{sigma:g}-{beta:g}",
            f"gain of a target, sd {sigma:g}, beta {beta:g}",
            lambda sigma=sigma, beta=beta: optimism(sigma, beta),
            f"{known:g} +- 2 %",
            near(known, 0.02 * known),
        )
        for sigma, beta, known in ((5.0, 1000.0, 0.0249), (200.0, 1000.0, 40.0), (200.0, 40_000.0, 1.0))
    ),
    Oracle("ICQ8", "huge betas: cloning and SARSA", lambda: plain_limit(MAICQ), "< 1e-10", lambda v: v < 1e-10),
]
