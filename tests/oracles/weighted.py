"""What the oracles of OMIGA and MA-ICQ share: a bandit, the limit of plain cloning, and trained policies."""

from __future__ import annotations

import functools

import torch

from tests.oracles.bandits import recorded, reward
from tests.oracles.one_state import above, batch_of, near, observe, spec
from tests.oracles.table import Oracle
from tests.support import continuous_spec, discrete_spec, random_batch
from vgm2p.algos.ma_icq import MAICQ
from vgm2p.algos.omiga import OMIGA
from vgm2p.algos.parts import CriticSettings
from vgm2p.groups import Net, Optim
from vgm2p.rng import UpdateKey
from vgm2p.types import Seen, per_seed_mean

F64 = torch.float64

# one state, four actions: how often the data take them, and what they are worth
P, Q = torch.tensor([0.4, 0.3, 0.1, 0.2], dtype=F64), torch.tensor([3.0, -1.0, 8.0, 2.0], dtype=F64)
STORED = torch.tensor([0] * 4 + [1] * 3 + [2] + [3] * 2)  # ten rows with these shares


def plain_limit(cls):
    """With a huge temperature (and, under MA-ICQ, equal k): the policy's loss is cloning's; largest error of both kinds."""
    options = {"alpha": 1e12} if cls is OMIGA else {"beta": 1e12, "target_weight": "softmax", "target_beta": 1e12}
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


def bandit_batches(steps):
    """Batches of the bandit: 200 actions with shares P, and their rewards Q."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        action = torch.multinomial(P, 200, replacement=True, generator=generator)
        batch = batch_of(action[:, None], Q[action].float())
        batch.legal = batch.next_legal = torch.ones(1, 200, 1, 4, dtype=torch.bool)
        yield batch


@functools.cache
@torch.enable_grad()
def trained(cls, steps=700, **options):
    """E[q] of a policy that learns from rewards q, stored with shares p; temperature 5."""
    critic = CriticSettings(members=1, tau=0.1)
    optim = Optim(1e-2, decay_updates=steps)
    algorithm = cls(spec(actions=4, discrete=True), [0], net=Net(16, 1), optim=optim, critic=critic, **options)
    key = UpdateKey([0])
    for update, batch in enumerate(bandit_batches(steps)):
        batch.next_action = batch.action
        batch.obs += 1.0  # at 0, the mixer of a fresh network has weights 0, which have no gradient
        algorithm.update(batch, key.at(update))
    pi = torch.softmax(algorithm.policy(algorithm.encode(observe(1) + 1.0))[0, 0, 0], -1)
    return (pi.double() * Q).sum()


@functools.cache
@torch.enable_grad()
def two_agents(cls, steps=800, **options):
    """Return of the trained policies in the game of `bandits`, with continuous actions; the best is 0."""
    optim, critic = Optim(3e-3, decay_updates=steps), CriticSettings(members=1, tau=0.1)
    algorithm = cls(spec(agents=2, actions=1), [0], net=Net(32, 2), optim=optim, critic=critic, **options)
    generator, key = torch.Generator().manual_seed(0), UpdateKey([0])
    for update in range(steps):
        action = recorded(128, generator)
        batch = batch_of(action.unsqueeze(-1), reward(action))
        batch.next_action = batch.action
        batch.obs += 1.0
        algorithm.update(batch, key.at(update))
    acted, _ = algorithm.act(Seen(observe(1, 2) + 1.0), None, UpdateKey([9]))
    return reward(acted[0, :, :, 0]).mean()


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
    Oracle("ICQ10", "two agents, return", lambda: two_agents(MAICQ), "> -.1", above(-0.1)),
    Oracle("OMI8", "two agents, alpha .3, return", lambda: two_agents(OMIGA, alpha=0.3), "> -.1", above(-0.1)),
]
