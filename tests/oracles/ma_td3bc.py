"""Exact oracles of MA-TD3BC: the balance between Q and cloning, and the smoothed target."""

from __future__ import annotations

import torch

from tests.oracles.one_state import batch_of, near, observe, spec
from tests.oracles.table import Oracle
from vgm2p.algos.ma_td3bc import MATD3BC
from vgm2p.groups import Net
from vgm2p.rng import UpdateKey

F64 = torch.float64
STORED = -0.5  # the stored action, and the best one is 0.5


def make(**options):
    return MATD3BC(spec(actions=1), [0], net=Net(8, 1), **options).double()


def policy_loss(algorithm, rows=1):
    batch = batch_of(torch.full((rows, 1, 1), STORED, dtype=F64))
    return algorithm.policy_loss(batch, algorithm.encode(observe(rows).double()), UpdateKey([0]))[0]


def gradient_of_values(*values):
    """dL/dQ of two rows whose values are given: the largest entry, which is -alpha / (2 mean |Q|) of both."""
    algorithm, q = make(), torch.tensor(values, dtype=F64, requires_grad=True)
    algorithm.critic.forward = lambda o, action, member: q.reshape(1, -1, 1)
    (found,) = torch.autograd.grad(policy_loss(algorithm, len(values)).sum(), q)
    assert torch.equal(found[0], found[1])
    return found.max()


def quadratic(action):
    return 3.0 - (action - 0.5).square()


def resting_action(alpha):
    """The action at which the loss for Q = 3 - (a - 0.5)^2 is stationary, by bisection of its gradient."""
    algorithm = make(alpha=alpha)
    algorithm.critic.forward = lambda o, action, member: quadratic(action).squeeze(-1)
    low, high = -1.0, 1.0
    for _ in range(60):
        action = torch.full((1, 1, 1, 1), (low + high) / 2, dtype=F64, requires_grad=True)
        algorithm.policy.forward = lambda o, action=action: action
        (slope,) = torch.autograd.grad(policy_loss(algorithm).sum(), action)
        low, high = (low, action.item()) if slope > 0 else (action.item(), high)
    return low


def policy_gradient(alpha=2.5, scale=1.0):
    algorithm = make(alpha=alpha)
    judge = algorithm.critic.forward
    algorithm.critic.forward = lambda o, action, member: scale * judge(o, action, member)
    policy_loss(algorithm).sum().backward()
    return torch.cat([p.grad.flatten() for p in algorithm.policy.parameters()])


def scaled_rewards():
    """Values 1000 times as large: the largest change of the policy's gradient, relative."""
    plain, large = policy_gradient(), policy_gradient(scale=1000.0)
    return (plain - large).abs().max() / plain.abs().max()


def without_values():
    """alpha 0: how many entries of the gradient differ from those of mean (pi - a)^2, bit for bit."""
    algorithm = make(alpha=0.0)
    (algorithm.policy(algorithm.encode(observe(1).double())) - STORED).square().mean().backward()
    cloning = torch.cat([p.grad.flatten() for p in algorithm.policy.parameters()])
    return (policy_gradient(alpha=0.0) != cloning).double().sum()


@torch.no_grad()
def smoothed_square(rows=400_000):
    """E clip(eps, -0.5, 0.5)^2 for eps ~ N(0, 0.2^2): minus the target of Q = -a^2 at the policy 0."""
    algorithm = make().float()
    algorithm.target_policy.forward = lambda o: torch.zeros(*o.shape[:-1], 1)
    algorithm.target_critic.forward = lambda o, action: -action.square().squeeze(-1).unsqueeze(1)
    o = algorithm.encode(observe(rows))
    return -algorithm.following(batch_of(torch.zeros(rows, 1, 1)), o, UpdateKey([0])).double().mean()


MA_TD3BC = [
    Oracle("TB-a1", "dL/dQ for Q = (2, 7)", lambda: gradient_of_values(2.0, 7.0), "-.277778", near(-2.5 / 9, 1e-12)),
    Oracle("TB-a2", "dL/dQ for Q = (2, -7)", lambda: gradient_of_values(2.0, -7.0), "-.277778", near(-2.5 / 9, 1e-12)),
    Oracle("TB-b1", "resting action, alpha 0", lambda: resting_action(0.0), "-.5", near(-0.5, 1e-12)),
    Oracle("TB-b2", "resting action, alpha 1", lambda: resting_action(1.0), "-.21354", near(-0.21354, 5e-6)),
    Oracle("TB-b3", "resting action, alpha 2.5", lambda: resting_action(2.5), "-.02178", near(-0.02178, 5e-6)),
    Oracle("TB-b4", "resting action, alpha 100", lambda: resting_action(100.0), ".47088", near(0.47088, 5e-6)),
    Oracle("TB-c", "1000 Q: change of the policy's gradient", scaled_rewards, "< 1e-12", lambda v: v < 1e-12),
    Oracle("TB-d", "smoothed target of a^2", smoothed_square, ".03910 +- .0003", near(0.0391024, 3e-4)),
    Oracle("TB-e", "alpha 0 against cloning, unequal bits", without_values, "= 0", lambda v: v == 0),
]
