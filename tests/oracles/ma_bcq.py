"""Exact oracles of MA-BCQ: which action is chosen, and which actions a target may use."""

from __future__ import annotations

import math

import torch

from tests.oracles.one_state import batch_of, near, observe, spec
from tests.oracles.table import Oracle
from tests.support import discrete_spec, random_batch
from vgm2p.algos.ma_bcq import MABCQ
from vgm2p.groups import Net
from vgm2p.rng import UpdateKey
from vgm2p.types import Acting

F64 = torch.float64
OFTEN, WORTH = (0.55, 0.30, 0.10, 0.05), (0.0, 1.0, 5.0, 9.0)  # G and Q of four actions in one state


def make(task, threshold, **options):
    return MABCQ(task, [0], net=Net(8, 1), threshold=threshold, **options).double()


def choice(threshold, legal=(True, True, True, True)):
    """The action that MA-BCQ takes for G and Q of above."""
    algorithm = make(spec(actions=4, discrete=True), threshold)
    algorithm.behaviour.forward = lambda o: torch.tensor(OFTEN, dtype=F64).log().expand(1, 1, 1, 4)
    algorithm.critic.forward = lambda o: torch.tensor(WORTH, dtype=F64).expand(1, 1, 1, 1, 4)
    o = algorithm.encode(observe(1).double())
    return algorithm.execute(o, torch.tensor(legal).expand(1, 1, 1, 4), UpdateKey([0]), Acting()).item()


def choices(legal, wanted):
    """How many thresholds (threshold -> action) give another action."""
    return float(sum(choice(threshold, legal) != action for threshold, action in wanted.items()))


ALL = (True, True, True, True)
BY_THRESHOLD = {0.0: 3, 0.1: 2, 0.2: 1, 0.3: 1, 0.4: 1, 0.5: 1, 0.6: 0, 1.0: 0}
WITHOUT_THE_LIKELIEST = {0.0: 3, 0.3: 2, 0.34: 1, 0.4: 1, 1.0: 1}


@torch.no_grad()
def against_double_dqn():
    """Threshold 0: the largest difference from Qbar(o', argmax over legal of Q(o', .)), in loops."""
    algorithm, batch = make(discrete_spec(), 0.0), random_batch(discrete_spec(), rows=16, dtype=F64)
    for p in algorithm.target_critic.parameters():
        p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(0), dtype=F64))
    next_o = algorithm.encode(batch.next_obs)
    found = algorithm.following(batch, next_o, UpdateKey([0]))
    online, target = algorithm.critic(next_o)[0, 0], algorithm.target_critic(next_o)[0, 0]
    largest = 0.0
    for b in range(16):
        for i in range(3):
            legal = [a for a in range(4) if batch.next_legal[0, b, i, a]]
            best = max(legal, key=lambda a, b=b, i=i: float(online[b, i, a]))
            largest = max(largest, abs(float(found[0, b, i] - target[b, i, best])))
    return largest


def chain_target(threshold):
    """The target of the first step of s0 - s1 - end (reward 1 at the end, gamma .9); an unseen action has Q(s1) = 10."""
    algorithm = make(spec(actions=2, discrete=True), threshold, gamma=0.9)
    values = torch.tensor([[0.0, 0.0], [1.0, 10.0]], dtype=F64)
    algorithm.behaviour.forward = lambda o: torch.tensor([0.0, -50.0], dtype=F64).expand(1, 1, 1, 2)
    for critic in (algorithm.critic, algorithm.target_critic):
        critic.forward = lambda o: values[o[..., 0].round().long()].unsqueeze(1)
    batch = batch_of(torch.zeros(1, 1, dtype=torch.int64)).to(F64)
    batch.bootstrap = torch.ones(1, 1, dtype=F64)
    s0, s1 = torch.zeros(1, 1, 1, 2, dtype=F64), torch.ones(1, 1, 1, 2, dtype=F64)
    loss, _ = algorithm.critic_loss(batch, s0, s1, UpdateKey([0]))
    return math.sqrt(loss.item())  # Q(s0, a0) is 0


def likeliest(threshold=1.0):
    """Threshold 1: number of rows in which the choice is not argmax G, or not exactly one action is kept."""
    algorithm, batch = make(discrete_spec(), threshold), random_batch(discrete_spec(), rows=64, dtype=F64)
    o = algorithm.encode(batch.obs)
    logits = algorithm.behaviour(o).masked_fill(~batch.legal, -math.inf)
    wrong = algorithm.execute(o, batch.legal, UpdateKey([0]), Acting()) != logits.argmax(-1)
    return (wrong | (algorithm.allowed(o, batch.legal).sum(-1) != 1)).double().sum()


MA_BCQ = [
    Oracle("BCQ-a1", "wrong choices of eight thresholds", lambda: choices(ALL, BY_THRESHOLD), "= 0", lambda v: v == 0),
    Oracle(
        "BCQ-a2",
        "same, the likeliest action is illegal",
        lambda: choices((False, True, True, True), WITHOUT_THE_LIKELIEST),
        "= 0",
        lambda v: v == 0,
    ),
    Oracle("BCQ-b", "threshold 0 against double DQN", against_double_dqn, "< 1e-14", lambda v: v < 1e-14),
    Oracle("BCQ-c1", "chain: target without the unseen action", lambda: chain_target(0.3), ".9", near(0.9, 1e-12)),
    Oracle("BCQ-c2", "negative control: threshold 0", lambda: chain_target(0.0), "9", near(9.0, 1e-12)),
    Oracle("BCQ-d", "threshold 1: rows that do not follow argmax G", likeliest, "= 0", lambda v: v == 0),
]
