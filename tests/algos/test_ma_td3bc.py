"""MA-TD3BC: losses against a slow float64 reference, the delayed steps, and what each loss trains."""

import copy

import pytest
import torch

from tests.algos import reference as ref
from tests.algos.cases import F64, SPECS, assert_each_loss_trains_its_own, close, make, table
from tests.support import random_batch
from vgm2p.algos.ma_td3bc import MATD3BC
from vgm2p.groups import Optim
from vgm2p.rng import UpdateKey

SPEC = SPECS["continuous"]


def shifted(**options):
    """An algorithm whose target networks differ from the online ones."""
    algorithm = make(MATD3BC, "continuous", gamma=0.9, **options)
    with torch.no_grad():
        for p in (*algorithm.target_critic.parameters(), *algorithm.target_policy.parameters()):
            p.add_(0.1)
    return algorithm


def action_of(algorithm, policy, obs, agent):
    return torch.tanh(ref.plain_mlp(policy.mlp, ref.encode(algorithm, obs, agent)))


@pytest.mark.parametrize("source", range(3))
@pytest.mark.parametrize("mixer", ["sum", "mean", "independent"])
def test_critic_loss(mixer, source):
    algorithm, batch = shifted(mixer=mixer, noise=0.5), random_batch(SPEC, source=source, dtype=F64)
    key = UpdateKey([0]).at(source)
    loss, _ = algorithm.critic_loss(batch, *algorithm.encode_pair(batch), key)
    eps = key.at(source).normal("smoothing", tuple(batch.action.shape[1:])).to(F64)
    next_action = torch.zeros_like(batch.action)
    for b, i in ref.rows(batch):
        for j in range(SPEC.action_dim):
            noise = min(max(0.5 * float(eps[0, b, i, j]), -0.5), 0.5)
            a = float(action_of(algorithm, algorithm.target_policy, batch.next_obs[0, b, i], i)[j]) + noise
            next_action[0, b, i, j] = min(max(a, -1.0), 1.0)
    q = table(algorithm, algorithm.critic, batch.obs, batch.action)
    following = table(algorithm, algorithm.target_critic, batch.next_obs, next_action).min(0).values
    close(loss, ref.td_reference(q, batch.reward[0], following, batch.bootstrap[0], batch.valid[0], 0.9, mixer))


@pytest.mark.parametrize("source", range(3))
def test_policy_loss(source):
    algorithm, batch = shifted(alpha=1.7), random_batch(SPEC, source=source, dtype=F64)
    loss, info = algorithm.policy_loss(batch, algorithm.encode(batch.obs), UpdateKey([0]))
    clone = size = value = 0.0
    for b, i in ref.rows(batch):
        action = action_of(algorithm, algorithm.policy, batch.obs[0, b, i], i)
        x = torch.cat([ref.encode(algorithm, batch.obs[0, b, i], i), action])
        q = ref.plain_mlp(algorithm.critic.mlp, x, 0, 0)[0]
        clone, size, value = clone + ((action - batch.action[0, b, i]) ** 2).mean(), size + abs(q.detach()), value + q
    rows = len(ref.rows(batch))
    wanted = clone / rows - 1.7 / (size / rows) * value / rows
    close(loss, wanted)
    close(info["q_weight"], 1.7 / (size / rows))
    found, expected = (torch.autograd.grad(x.sum(), algorithm.policy.parameters()) for x in (loss, wanted))
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-10)


def weights(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def test_policy_and_targets_move_in_every_second_update():
    algorithm, key = shifted(), UpdateKey([0])
    for update in range(1, 7):
        before = copy.deepcopy(algorithm)
        algorithm.step(random_batch(SPEC, source=update, dtype=F64), key.at(update))
        assert not torch.equal(weights(algorithm.critic), weights(before.critic))
        assert torch.equal(weights(algorithm.policy), weights(before.policy)) == bool(update % 2)
        for name in ("critic", "policy"):
            target, online = (weights(getattr(algorithm, each)) for each in (f"target_{name}", name))
            old, rate = weights(getattr(before, f"target_{name}")), 0.0 if update % 2 else 0.005
            torch.testing.assert_close(target, (1 - rate) * old + rate * online, rtol=0, atol=1e-14)
    assert algorithm.optimisers["policy"].steps.tolist() == [3.0]
    assert algorithm.optimisers["critic"].steps.tolist() == [6.0]


def test_each_loss_has_a_gradient_for_its_own_networks_only():
    assert_each_loss_trains_its_own(shifted(), random_batch(SPEC, dtype=F64))


def test_values_of_zero_leave_a_finite_loss():
    algorithm, batch = make(MATD3BC, "continuous"), random_batch(SPEC, dtype=F64)
    with torch.no_grad():
        for p in algorithm.critic.mlp.output.parameters():
            p.zero_()
    loss, info = algorithm.policy_loss(batch, algorithm.encode(batch.obs), UpdateKey([0]))
    close(loss, info["clone_loss"].item())


@pytest.mark.parametrize("delay", [1, 2, 3])
def test_the_policy_s_rate_falls_to_0_with_the_updates_whatever_the_delay(delay):
    algorithm, key = shifted(delay=delay, optim=Optim(decay_updates=12)), UpdateKey([0])
    rates = []
    for update in range(1, 13):
        rates.append(float(algorithm.optimisers["policy"].learning_rates()[0]))
        algorithm.step(random_batch(SPEC, source=update, dtype=F64), key.at(update))
    assert rates[0] == pytest.approx(3e-4)
    assert min(rates) > 0.0
    assert float(algorithm.optimisers["policy"].learning_rates()[0]) == pytest.approx(0.0, abs=1e-12)
