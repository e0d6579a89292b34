"""Oracles of conservative critics (CQL) and of OMAR's search, for the program's own functions."""

from __future__ import annotations

import math

import torch

from tests.oracles.one_state import near, spec
from tests.oracles.table import Oracle
from tests.support import continuous_spec, discrete_spec, random_batch
from vgm2p.algos.conservative import candidates, legal_penalty, sampled_penalty
from vgm2p.algos.ma_cql import MACQL, Conservatism
from vgm2p.algos.omar import OMAR, Search
from vgm2p.algos.parts import td_loss
from vgm2p.groups import Net
from vgm2p.rng import UpdateKey

F64 = torch.float64

# a bandit of three actions: how often the data take them, and what they pay
ACTIONS = torch.tensor([0] * 5 + [1] * 3 + [2] * 2)
SHARES = torch.tensor([0.5, 0.3, 0.2], dtype=F64)
REWARDS = torch.tensor([1.0, 2.0, 0.0], dtype=F64)
SOLVED = {  # weight of the penalty -> values, and the divergence of the behaviour from softmax(values)
    0.0: ((1.0, 2.0, 0.0), 0.2780),
    0.1: ((1.045884, 1.890179, 0.050023), 0.2234),
    1.0: ((1.232257, 1.434156, 0.268123), 0.0601),
    3.0: ((1.333402, 1.181603, 0.394090), 0.0147),
    10.0: ((1.397892, 1.021062, 0.473677), 0.0020),
    100.0: ((1.432199, 0.936285, 0.515075), 2.4e-5),
}


def bandit_loss(values, weight):
    rows = len(ACTIONS)
    q = values.expand(1, 1, rows, 1, 3)
    chosen = q.gather(-1, ACTIONS.reshape(1, 1, rows, 1, 1)).squeeze(-1)
    td = td_loss(chosen, REWARDS[ACTIONS][None], torch.zeros(1, rows, 1, dtype=F64), torch.ones(1, rows), "sum")
    return (0.5 * td + weight * legal_penalty(q, chosen, None).mean()).sum()


def solve(weight):
    """The values at which the gradient of TD loss and penalty is 0, by Newton steps."""
    values = REWARDS.clone()
    for _ in range(50):
        values.requires_grad_()
        slope = torch.autograd.grad(bandit_loss(values, weight), values)[0]
        curvature = torch.autograd.functional.hessian(lambda v: bandit_loss(v, weight), values)
        step = torch.linalg.solve(curvature, slope)
        values = (values - step * min(1.0, 0.5 / float(step.abs().max().clamp(min=1e-12)))).detach()
    return values


def bandit_error(weight):
    return (solve(weight) - torch.tensor(SOLVED[weight][0], dtype=F64)).abs().max()


def bandit_divergence(weight):
    return (SHARES * (SHARES.log() - solve(weight).log_softmax(0))).sum()


def bandit_mean():
    """The penalty leaves the mean value of the stored actions at their mean reward, 1.1: largest error."""
    return max(float((SHARES * solve(weight)).sum().sub(1.1).abs()) for weight in SOLVED)


def joint(weights, bias):
    """log-sum-exp over joint actions of w1 q1 + w2 q2 + b, and the sum of the agents' own: (joint, difference)."""
    values = [torch.tensor([1.0, -2.0, 0.5], dtype=F64), torch.tensor([0.0, 3.0], dtype=F64)]
    first, second = (w * q for w, q in zip(weights, values, strict=True))
    whole = (first[:, None] + second).logsumexp((0, 1)) + bias
    own = [legal_penalty(q[None, None, None, None], torch.zeros(1, 1, 1, 1, dtype=F64), None) for q in (first, second)]
    return whole, (sum(own).sum() + bias - whole).abs()


def penalty_gradient():
    """The gradient of the penalty is softmax(Q) - onehot(a)."""
    q = torch.tensor([1.0, -0.5, 2.0, 0.3], dtype=F64, requires_grad=True)
    loss = legal_penalty(q.expand(1, 1, 1, 1, 4), q[2].expand(1, 1, 1, 1), None)
    (slope,) = torch.autograd.grad(loss.sum(), q)
    return (slope - q.softmax(0) + torch.eye(4, dtype=F64)[2]).abs().max()


def constant_value():
    """Q = 1.7 everywhere, 10 uniform candidates of two components: 1.7 + log 10 + 2 log 2."""
    zeros = torch.zeros(1, 1, 1, 2, dtype=F64)
    _, log_density = candidates(zeros, zeros, 10, 0.2, UpdateKey([0]))
    values = torch.full((1, 1, 1, 10, 1), 1.7, dtype=F64)
    return sampled_penalty(values, torch.zeros(1, 1, 1, 1, dtype=F64), log_density[:, :, :10])


def log_integral(logarithm):
    """log integral exp(-50 |a|^2) da over two components, from 2e5 Gaussian candidates of deviation 0.2."""
    zeros, count = torch.zeros(1, 1, 1, 2, dtype=F64), 200_000
    actions, log_density = candidates(zeros, zeros, count, 0.2, UpdateKey([0]))
    actions, log_density = actions[:, :, count : 2 * count], log_density[:, :, count : 2 * count]
    values = -50.0 * actions.square().sum(-1).unsqueeze(1)
    term = log_density if logarithm else log_density.exp()
    return sampled_penalty(values, torch.zeros(1, 1, 1, 1, dtype=F64), term) - math.log(count)


def one_legal_action():
    """Penalty and gradient of agents with one legal action, largest size."""
    batch = random_batch(discrete_spec(), dtype=F64)
    batch.legal[:] = False
    batch.legal[..., 1] = True
    q = torch.randn(1, 2, 8, 3, 4, generator=torch.Generator().manual_seed(0), dtype=F64, requires_grad=True)
    penalty = legal_penalty(q, q[..., 1], batch.legal)
    (slope,) = torch.autograd.grad(penalty.sum(), q)
    return max(penalty.abs().max(), slope.abs().max())


def trained(cls, task, **options):
    """The weights after five updates, in one row."""
    algorithm, key = cls(task, [0], net=Net(8, 2), **options).double(), UpdateKey([0])
    for update in range(5):
        algorithm.step(random_batch(task, source=update, dtype=F64), key.at(update))
    return torch.cat([p.detach().flatten() for p in algorithm.parameters()])


class WithoutPenalty(MACQL):
    def penalty(self, batch, o, next_o, q, every, key):
        return o.new_zeros(1)


def weight_0(task):
    return (trained(MACQL, task, cql=Conservatism(weight=0.0)) - trained(WithoutPenalty, task)).abs().max()


# --- OMAR's search: Q(a) = -|a - m|^2, m uniform in [-0.8, 0.8]; the observation is m -----------------------------------


class KnownQ(OMAR):
    seen = ()

    def rated(self, o, action):
        self.seen = (*self.seen, action)
        return -(action - o[..., : self.spec.action_dim]).square().sum(-1)


def searcher(width, **search):
    algorithm = KnownQ(spec(actions=width), [0], net=Net(4, 1), search=Search(**search))
    return algorithm, 1.6 * torch.rand(1, 8000, 1, width, generator=torch.Generator().manual_seed(1)) - 0.8


def search_error(width, wanted, **search):
    """Mean distance between the found action and m, as a share of the expected one."""
    algorithm, best = searcher(width, **search)
    key = UpdateKey([0])
    found, _ = algorithm.best_uniform(best, key) if search.get("kind") == "uniform" else algorithm.narrowed(best, key)
    return (found - best).norm(dim=-1).mean() / wanted


def on_the_border():
    """Share of the components of the first round's draws that were clipped."""
    algorithm, best = searcher(2, iterations=1)
    algorithm.narrowed(best, UpdateKey([0]))
    return (algorithm.seen[0].abs() == 1.0).double().mean()


def rectified(policy):
    """A^ for actions of a policy: value gained at least, distance to the policy's action at most."""
    algorithm, best = searcher(2)
    action = policy(best)
    better, _ = algorithm.rectify(best, action, UpdateKey([0]))
    gained = algorithm.rated(best, better) - algorithm.rated(best, action)
    return gained.min(), (better - action).abs().max()


def c_0():
    omar = trained(OMAR, continuous_spec(), c=0.0, rating="min", cql=Conservatism(weight=5.0))
    return (omar - trained(MACQL, continuous_spec(), mixer="independent")).abs().max()


OF_THE_SOURCE = {"iterations": 2, "samples": 20, "elites": 5, "sigma": 2.0}
OF_OG_MARL = {"iterations": 3, "samples": 10, "elites": 10, "sigma": 2.0}
ERRORS = {  # search -> mean distance for one, two and four components
    "source": (OF_THE_SOURCE, (0.037, 0.187, 0.515)),
    "40 uniform draws": ({**OF_THE_SOURCE, "kind": "uniform"}, (0.025, 0.157, 0.503)),
    "OG-MARL": (OF_OG_MARL, (0.038, 0.212, 0.595)),
    "30 uniform draws": ({**OF_OG_MARL, "kind": "uniform"}, (0.032, 0.179, 0.540)),
    "source, sigma 0.5": ({**OF_THE_SOURCE, "sigma": 0.5}, (0.014, 0.101, 0.356)),
}

TRUE_INTEGRAL = math.log(math.pi / 50.0)  # -2.7673
PLAIN, WEIGHTED = ((1.0, 1.0), 0.0), ((0.7, 1.8), -0.4)

MA_CQL = [
    *(
        Oracle(
            f"CQL1-{weight:g}",
            f"bandit, weight {weight:g}: values",
            lambda weight=weight: bandit_error(weight),
            "< 1e-6",
            lambda v: v < 1e-6,
        )
        for weight in SOLVED
    ),
    *(
        Oracle(
            f"CQL2-{weight:g}",
            f"bandit, weight {weight:g}: KL(data || softmax Q)",
            lambda weight=weight: bandit_divergence(weight),
            f"{known:g} to the last digit",
            near(known, 5.1e-5 if known > 1e-3 else 5.1e-7),
        )
        for weight, (_, known) in SOLVED.items()
    ),
    Oracle("CQL3", "bandit: mean value of stored actions is 1.1", bandit_mean, "< 1e-10", lambda v: v < 1e-10),
    Oracle("CQL4", "joint log-sum-exp", lambda: joint(*PLAIN)[0], "4.5531842539", near(4.553184253916026, 1e-12)),
    Oracle("CQL5", "it is the sum over agents", lambda: joint(*PLAIN)[1], "< 1e-12", lambda v: v < 1e-12),
    Oracle("CQL6", "joint, weighted", lambda: joint(*WEIGHTED)[0], "6.3072607873", near(6.307260787310183, 1e-12)),
    Oracle("CQL7", "weighted: the sum over agents", lambda: joint(*WEIGHTED)[1], "< 1e-12", lambda v: v < 1e-12),
    Oracle("CQL8", "gradient = softmax(Q) - onehot(a)", penalty_gradient, "< 1e-14", lambda v: v < 1e-14),
    Oracle("CQL9", "constant Q, uniform candidates", constant_value, "5.388879", near(5.388879, 1e-6)),
    Oracle("CQL10", "log-integral of exp Q", lambda: log_integral(True), "-2.7673 +- .02", near(TRUE_INTEGRAL, 0.02)),
    Oracle("CQL11", "negative control: density, not its log", lambda: log_integral(False), "< -4", lambda v: v < -4.0),
    Oracle("CQL12", "one legal action: penalty and gradient", one_legal_action, "= 0", lambda v: v == 0),
    Oracle("CQL13", "weight 0 = double DQN", lambda: weight_0(discrete_spec()), "= 0", lambda v: v == 0),
    Oracle("CQL14", "weight 0 = TD3 without smoothing", lambda: weight_0(continuous_spec()), "= 0", lambda v: v == 0),
    *(
        Oracle(
            f"OM1{letter}{width}",
            f"search error, {name}, A = {width}, / {wanted}",
            lambda width=width, wanted=wanted, search=search: search_error(width, wanted, **search),
            "1 +- .1",
            near(1.0, 0.1),
        )
        for letter, (name, (search, errors)) in zip("abcde", ERRORS.items(), strict=True)
        for width, wanted in zip((1, 2, 4), errors, strict=True)
    ),
    Oracle("OM2", "first draws on the border, sigma 2", on_the_border, ".617 +- .005", near(0.617, 0.005)),
    Oracle("OM3", "Q(a^) - Q(pi), least", lambda: rectified(torch.zeros_like)[0], ">= 0", lambda v: v >= 0),
    Oracle("OM4", "policy at the optimum: distance to a^", lambda: rectified(torch.clone)[1], "= 0", lambda v: v == 0),
    Oracle("OM5", "c = 0 is MA-CQL, independent", c_0, "= 0", lambda v: v == 0),
]
