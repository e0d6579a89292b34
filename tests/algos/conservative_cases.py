"""Small conservative critics and policies, and their slow counterparts, for the tests of MA-CQL and OMAR."""

import torch

from tests.algos import reference as ref
from tests.algos.cases import F64, SPECS, make
from tests.support import random_batch
from vgm2p.algos.ma_cql import Conservatism
from vgm2p.rng import UpdateKey

FEW = Conservatism(weight=0.7, samples=3, sigma=0.3, temperature=0.8, joint_samples=4)


def case(cls, kind, source, **options):
    """An algorithm whose target networks differ from the online ones, a batch, and a key."""
    algorithm = make(cls, kind, cql=FEW, gamma=0.9, **options)
    with torch.no_grad():
        for follower in algorithm.targets:
            for p in follower.parameters:
                p.mul_(0.9)
    return algorithm, random_batch(SPECS[kind], source=source, dtype=F64), UpdateKey([0]).at(source)


def critic_loss(algorithm, batch, key):
    o, next_o = algorithm.encode(batch.obs), algorithm.encode(batch.next_obs)
    return algorithm.critic_loss(batch, o, next_o, key)[0]


def acted(policy, algorithm, obs, b, i):
    return torch.tanh(ref.plain_mlp(policy.mlp, ref.encode(algorithm, obs[0, b, i], i)))


def rated(algorithm, obs, b, i, action, e):
    x = torch.cat([ref.encode(algorithm, obs[0, b, i], i), action])
    return ref.plain_mlp(algorithm.critic.mlp, x, 0, e)[0]


def trained(algorithm, updates=5):
    key = UpdateKey([0])
    for update in range(updates):
        algorithm.step(random_batch(algorithm.spec, source=update, dtype=F64), key.at(update))
    return dict(algorithm.named_parameters())
