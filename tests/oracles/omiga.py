"""Exact oracles of OMIGA's values and policies, through the product's own functions."""

from __future__ import annotations

import math

import torch

from tests.oracles.one_state import near
from tests.oracles.table import Oracle
from tests.oracles.weighted import F64, STORED, P, Q, plain_limit
from vgm2p.algos.omiga import OMIGA, regression
from vgm2p.algos.parts import tanh_normal_log_prob


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


OMIGA_ROWS = [
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
