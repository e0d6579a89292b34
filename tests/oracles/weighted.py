"""Oracles of weighted cloning (OMIGA, MA-ICQ): closed forms through the product's functions, and trained bandits."""

from __future__ import annotations

import functools
import math

import torch

from tests.oracles.one_state import batch_of, near, observe, spec
from tests.oracles.table import Oracle
from tests.support import continuous_spec, discrete_spec, random_batch
from vgm2p.algos.diagnostics import ess
from vgm2p.algos.ma_icq import MAICQ
from vgm2p.algos.omiga import OMIGA, regression
from vgm2p.algos.parts import CriticSettings, batch_softmax, tanh_normal_log_prob
from vgm2p.nn.mlp import Net
from vgm2p.optim import Optim
from vgm2p.rng import UpdateKey
from vgm2p.types import per_seed_mean

F64 = torch.float64

# one state, four actions: how often the data take them, and what they are worth
P, Q = torch.tensor([0.4, 0.3, 0.1, 0.2], dtype=F64), torch.tensor([3.0, -1.0, 8.0, 2.0], dtype=F64)
STORED = torch.tensor([0] * 4 + [1] * 3 + [2] + [3] * 2)  # ten rows with these shares


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


def plain_limit(cls):
    """With a huge temperature (and, under MA-ICQ, equal k): the policy's loss is cloning's; largest error of both kinds."""
    options = {"alpha": 1e12} if cls is OMIGA else {"beta": 1e12, "target_beta": 1e12}
    errors = []
    for task in (continuous_spec(), discrete_spec()):
        algorithm = cls(task, [0], net=Net(8, 2), **options).double()
        batch = random_batch(task, dtype=F64)
        o, next_o = algorithm.encode_pair(batch)
        if cls is MAICQ:
            equal_weights(algorithm.mixer, algorithm.target_mixer)
            weight, _ = algorithm.weights(batch, o)
            sarsa = algorithm.q(algorithm.target_critic, next_o, batch.next_action).mean((1, 3))
            followed = batch.valid * batch.bootstrap
            errors.append((followed * (algorithm.following(batch, next_o)[0] - sarsa)).abs().max())
        else:
            w, q, v = algorithm.judge(batch, o)
            weight, _ = algorithm.weights((w * (q - v) / algorithm.alpha).detach())
        loss, _ = algorithm.clone(batch, o, weight)
        errors.append((loss + per_seed_mean(algorithm.log_prob(o, batch.action, batch.legal))).abs().max())
    return max(errors)


@torch.no_grad()
def equal_weights(*mixers):
    for mixer in mixers:
        mixer.mlp.output.weight.zero_()
        mixer.mlp.output.bias.fill_(0.3)


def slope(q, w, v, alpha, linear=True):
    """dL/dv of OMIGA's regression, for the values q (R,) of R rows of one agent and one state."""
    level = torch.tensor(v, dtype=F64, requires_grad=True)
    rows = q.reshape(1, -1, 1)
    loss = regression(torch.full_like(rows, w), rows, level.expand_as(rows), alpha, linear)
    return float(torch.autograd.grad(loss.sum(), level)[0])


def solve(q, w, alpha):
    """The v at which the slope is 0, by bisection: the loss is convex."""
    low, high = float(q.min()), float(q.max())
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(q, w, middle, alpha) < 0.0 else (low, middle)
    return middle


def normaliser():
    """sum p exp(z) - 1 at the solution, which makes p exp(z) a policy."""
    z = 0.7 * (Q - solve(Q[STORED], 0.7, 10.0)) / 10.0
    return ((P * z.exp()).sum() - 1.0).abs()


# two agents in one state, with values, mixed with weights and a bias; the rows hold actions in the data's shares
ALPHA, WEIGHTS, BIAS = 2.0, (0.5, 1.5), 0.3
VALUES = [torch.tensor([1.0, 0.0, 3.0], dtype=F64), torch.tensor([-1.0, 2.0], dtype=F64)]
BEHAVIOUR = [torch.tensor([0.2, 0.5, 0.3], dtype=F64), torch.tensor([0.6, 0.4], dtype=F64)]


def local_values():
    counts = [(10 * mu).round().long() for mu in BEHAVIOUR]
    return [solve(q.repeat_interleave(n), w, ALPHA) for q, n, w in zip(VALUES, counts, WEIGHTS, strict=True)]


def team_value():
    """sum_i w_i v_i + b against alpha log E exp(Q_tot / alpha) over joint actions: (value, difference)."""
    total = sum(w * v for w, v in zip(WEIGHTS, local_values(), strict=True)) + BIAS
    joint = BEHAVIOUR[0][:, None] * BEHAVIOUR[1] * torch.exp(joint_q() / ALPHA)
    return total, (total - ALPHA * joint.sum().log()).abs()


def joint_q():
    return WEIGHTS[0] * VALUES[0][:, None] + WEIGHTS[1] * VALUES[1] + BIAS


def product_of_policies():
    """The product of the agents' policies against the solution of the joint problem: largest error."""
    parts = zip(BEHAVIOUR, WEIGHTS, VALUES, local_values(), strict=True)
    first, second = (mu * torch.exp(w * (q - v) / ALPHA) for mu, w, q, v in parts)
    joint = BEHAVIOUR[0][:, None] * BEHAVIOUR[1] * torch.exp(joint_q() / ALPHA)
    return (first[:, None] * second - joint / joint.sum()).abs().max()


def density(action, eps=1e-3):
    mean, log_std = torch.full_like(action, 0.4), torch.full_like(action, -0.5)
    return tanh_normal_log_prob(action[:, None], mean[:, None], log_std[:, None], eps)


def density_integral():
    grid = torch.linspace(-1.0, 1.0, 200_001, dtype=F64)
    return torch.trapezoid(density(grid, 1e-9).exp(), grid)


def log_jacobian():
    """log(1 - tanh(u)^2) against 2 (log 2 - u - softplus(-2 u)): largest error."""
    a = torch.linspace(-0.999, 0.999, 1001, dtype=F64)
    u = torch.atanh(a)
    other = 2.0 * (math.log(2.0) - u - torch.nn.functional.softplus(-2.0 * u))
    mine = torch.distributions.Normal(*(torch.tensor(x, dtype=F64) for x in (0.4, math.exp(-0.5)))).log_prob(
        u
    ) - density(a, 1e-4)
    return (mine - other).abs().max()


@functools.cache
@torch.enable_grad()
def trained(cls, steps=700, **options):
    """E[q] of a policy that learns from rewards q, stored with shares p; temperature 5."""
    critic = CriticSettings(members=1, tau=0.1)
    optim = Optim(1e-2, decay_updates=steps)
    algorithm = cls(spec(actions=4, discrete=True), [0], net=Net(16, 1), optim=optim, critic=critic, **options)
    generator, key = torch.Generator().manual_seed(0), UpdateKey([0])
    for update in range(steps):
        action = torch.multinomial(P, 200, replacement=True, generator=generator)
        batch = batch_of(action[:, None], Q[action].float())
        batch.legal = batch.next_legal = torch.ones(1, 200, 1, 4, dtype=torch.bool)
        batch.next_action = batch.action
        batch.obs += 1.0  # at 0, the mixer of a fresh network has weights 0, which have no gradient
        algorithm.update(batch, key.at(update))
    pi = torch.softmax(algorithm.policy(algorithm.encode(observe(1) + 1.0))[0, 0, 0], -1)
    return (pi.double() * Q).sum()


WEIGHTED = [
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
    *(
        Oracle(
            f"OMI1-{alpha:g}",
            f"V of one agent, alpha {alpha:g}",
            lambda alpha=alpha: solve(Q[STORED], 0.7, alpha),
            f"{known:.7g}",
            near(known, by),
        )
        for alpha, known, by in (
            (10.0, 2.344033992, 1e-8),
            (0.01, 7.967106, 1e-6),
            (1e4, 2.100234, 1e-6),
            (1e9, 2.1, 1e-6),
        )
    ),
    Oracle("OMI2", "sum p exp(z) - 1", normaliser, "< 1e-12", lambda v: v < 1e-12),
    Oracle("OMI3a", "two agents: v of the first", lambda: local_values()[0], "1.322694", near(1.322694, 1e-6)),
    Oracle("OMI3b", "two agents: v of the second", lambda: local_values()[1], ".973985", near(0.973985, 1e-6)),
    Oracle("OMI3c", "two agents: the team's V", lambda: team_value()[0], "2.422325", near(2.422325, 1e-6)),
    Oracle("OMI3d", "it is alpha log E exp(Q_tot / alpha)", lambda: team_value()[1], "< 1e-12", lambda v: v < 1e-12),
    Oracle("OMI3e", "product of policies = joint optimum", product_of_policies, "< 1e-12", lambda v: v < 1e-12),
    *(
        Oracle(
            f"OMI4{letter}",
            f"dL/dv at q {q:g}, v 0{'' if linear else ', source'}",
            lambda q=q, linear=linear: slope(torch.tensor([q], dtype=F64), 1.0, 0.0, 10.0, linear),
            f"{known:g}",
            near(known, by),
        )
        for letter, q, linear, known, by in (
            ("a", 50.0, True, -0.099326, 1e-6),
            ("b", 99.0, True, -0.099995, 1e-6),
            ("c", 101.0, True, -0.099995, 1e-6),
            ("d", 101.0, False, 4.5e-6, 1e-7),
        )
    ),
    Oracle("OMI5a", "tanh-normal: integral of the density", density_integral, "1 +- 1e-8", near(1.0, 1e-8)),
    Oracle(
        "OMI5b",
        "tanh-normal: log p(.5 | .4, -.5)",
        lambda: density(torch.tensor([0.5], dtype=F64)),
        "-.161554871",
        near(-0.161554871, 1e-9),
    ),
    Oracle("OMI5c", "tanh-normal: two forms of the Jacobian", log_jacobian, "< 1e-12", lambda v: v < 1e-12),
    Oracle("OMI6", "huge alpha: cloning", lambda: plain_limit(OMIGA), "< 1e-10", lambda v: v < 1e-10),
]

TRAINED = [
    Oracle(
        "ICQ9",
        "bandit, beta 5: E[q] of the policy",
        lambda: trained(MAICQ, beta=5.0, standardise=False),
        "3.676 +- .06",
        near(3.676, 0.06),
    ),
    Oracle(
        "OMI7",
        "bandit, alpha 5: E[q] of the policy",
        lambda: trained(OMIGA, alpha=5.0),
        "3.676 +- .06",
        near(3.676, 0.06),
    ),
]
