"""Small algorithms in float64, which tests compare with the reference."""

import torch

from tests.algos import reference as ref
from tests.support import continuous_spec, discrete_spec
from vgm2p.groups import Net
from vgm2p.rng import UpdateKey

F64 = torch.float64
SIZE = {"net": Net(8, 2)}
SPECS = {"continuous": continuous_spec(), "discrete": discrete_spec()}


def make(cls, kind, **options):
    algorithm = cls(SPECS[kind], [0], **SIZE, **options).double()
    algorithm.set_statistics(torch.linspace(-0.1, 0.1, 5, dtype=F64), torch.linspace(0.5, 1.5, 5, dtype=F64))
    return algorithm


def close(seen, wanted):
    torch.testing.assert_close(seen.reshape(()), torch.as_tensor(wanted, dtype=F64).reshape(()), rtol=0, atol=1e-10)


def table(algorithm, critic, obs, action):
    values = torch.zeros(2, *obs.shape[1:3], dtype=F64)
    for b in range(obs.shape[1]):
        for i in range(obs.shape[2]):
            x = torch.cat([ref.encode(algorithm, obs[0, b, i], i), action[0, b, i]])
            for e in range(2):
                values[e, b, i] = ref.plain_mlp(critic.mlp, x, 0, e)[0]
    return values


def assert_each_loss_trains_its_own(algorithm, batch):
    """The policy's loss has a gradient for the policy alone, the critic's for the critic alone, none for targets."""
    followers = [module for name, module in algorithm.named_children() if name.startswith("target_")]
    assert followers
    algorithm.policy_loss(batch, algorithm.encode(batch.obs), UpdateKey([0]))[0].sum().backward()
    assert all(p.grad is None for p in algorithm.critic.parameters())
    assert all(p.grad is not None for p in algorithm.policy.parameters())
    algorithm.zero_grad(set_to_none=True)
    algorithm.critic_loss(batch, *algorithm.encode_pair(batch), UpdateKey([0]))[0].sum().backward()
    assert all(p.grad is not None for p in algorithm.critic.parameters())
    assert all(p.grad is None for module in (algorithm.policy, *followers) for p in module.parameters())
