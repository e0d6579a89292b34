"""OM2P: losses against a slow float64 reference, networks of each agent, and its limits."""

import pytest
import torch

from tests.algos import reference as ref
from tests.algos.cases import F64, SPECS, assert_each_loss_trains_its_own, close, make
from tests.support import random_batch
from vgm2p.algos.bc_meanflow import BCMeanFlow
from vgm2p.algos.om2p import OM2P
from vgm2p.errors import ConfigError
from vgm2p.flows.path import Times
from vgm2p.rng import UpdateKey
from vgm2p.types import Acting

SPEC = SPECS["continuous"]
ENDS = torch.tensor([0.0, 1.0], dtype=F64)  # r and k of one step
DELTA = 0.05


def shifted(**options):
    """An algorithm whose target network differs from the online one."""
    algorithm = make(OM2P, "continuous", gamma=0.9, **options)
    with torch.no_grad():
        for p in algorithm.target_critic.parameters():
            p.add_(0.1)
    return algorithm


def member(algorithm, agent, number=None):
    """Place of an agent's network (critic: its network `number`) in the stack."""
    if algorithm.share_parameters:
        return number
    return agent if number is None else 2 * agent + number


def one_step(algorithm, obs, agent, z):
    x = torch.cat([z, ENDS, ref.encode(algorithm, obs, agent)])
    return (z - ref.plain_mlp(algorithm.policy.mlp, x, 0, member(algorithm, agent))).clamp(-1, 1)


def value(algorithm, critic, obs, agent, action, number):
    x = torch.cat([ref.encode(algorithm, obs, agent), action])
    return ref.plain_mlp(critic.mlp, x, 0, member(algorithm, agent, number))[0]


def drawn(key, purpose, batch):
    return key.normal(purpose, tuple(batch.action.shape[1:])).to(F64)[0]


@pytest.mark.parametrize("source", range(3))
@pytest.mark.parametrize("options", [{}, {"share_parameters": True}, {"mixer": "sum"}], ids=str)
def test_critic_loss(options, source):
    algorithm, batch = shifted(**options), random_batch(SPEC, source=source, dtype=F64)
    key = UpdateKey([0]).at(source)
    loss, _ = algorithm.critic_loss(batch, *algorithm.encode_pair(batch), key)
    z = drawn(key.at(source), "next_noise", batch)
    q, following = torch.zeros(2, 8, 3, dtype=F64), torch.zeros(8, 3, dtype=F64)
    for b, i in ref.rows(batch):
        ahead = one_step(algorithm, batch.next_obs[0, b, i], i, z[b, i])
        for e in range(2):
            q[e, b, i] = value(algorithm, algorithm.critic, batch.obs[0, b, i], i, batch.action[0, b, i], e)
            following[b, i] += value(algorithm, algorithm.target_critic, batch.next_obs[0, b, i], i, ahead, e) / 2
    mixer = options.get("mixer", "independent")
    close(loss, ref.td_reference(q, batch.reward[0], following, batch.bootstrap[0], batch.valid[0], 0.9, mixer))


def difference_row(algorithm, a, eps, k, r, oid, agent):
    """As `reference.meanflow_row`, with du/dk from two passes."""

    def u(k):
        x = torch.cat([(1 - k) * a + k * eps, r, k, oid])
        return ref.plain_mlp(algorithm.policy.mlp, x, 0, member(algorithm, agent))

    derivative = (u(k) - u(k - DELTA)) / DELTA
    return ((u(k) - (eps - a - (k - r) * derivative).detach()) ** 2).mean()


def flow_reference(algorithm, batch, key):
    eps = drawn(key, "flow_noise", batch)
    times = key.uniform("times", (*batch.obs.shape[1:3], 2)).to(F64)[0]
    total = 0.0
    for b, i in ref.rows(batch):
        a, e, oid = batch.action[0, b, i], eps[b, i], ref.encode(algorithm, batch.obs[0, b, i], i)
        k, r = times[b, i].max().reshape(1), times[b, i].min().reshape(1)
        if algorithm.derivative == "fd":
            total = total + difference_row(algorithm, a, e, k, r, oid, i)
        else:
            total = total + ref.meanflow_row(algorithm, a, e, k, r, oid, None, e - a, member=member(algorithm, i))
    return total / len(ref.rows(batch))


def value_reference(algorithm, batch, key, normalise):
    z = drawn(key, "policy_noise", batch)
    total = 0.0
    for i in range(3):
        q = []
        for b in range(8):
            action = one_step(algorithm, batch.obs[0, b, i], i, z[b, i])
            q.append(sum(value(algorithm, algorithm.critic, batch.obs[0, b, i], i, action, e) for e in range(2)) / 2)
        size = sum(abs(float(x.detach())) for x in q) / 8 if normalise else 1.0
        total = total - sum(q) / 8 / size / 3
    return total


@pytest.mark.parametrize("derivative", ["fd", "jvp"])
@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("share", [False, True])
def test_policy_loss_and_its_gradient(share, normalise, derivative):
    options = {"share_parameters": share, "normalise_q": normalise, "derivative": derivative}
    algorithm, batch = shifted(q_weight=1.7, fd_delta=DELTA, **options), random_batch(SPEC, dtype=F64)
    loss, info = algorithm.policy_loss(batch, algorithm.encode(batch.obs), key := UpdateKey([0]))
    flow, gain = flow_reference(algorithm, batch, key.at(0)), value_reference(algorithm, batch, key, normalise)
    close(info["flow_loss"], flow.detach())
    close(info["q_loss"], gain.detach())
    wanted = flow + 1.7 * gain
    close(loss, wanted)
    found, expected = (torch.autograd.grad(x.sum(), algorithm.policy.parameters()) for x in (loss, wanted))
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-10)


def test_without_q_it_is_bc_meanflow_for_every_agent():
    """Each agent's policy has the weights of BC(MF); the losses agree, and the gradients of the agents add up."""
    ours, bc = make(OM2P, "continuous", q_weight=0.0, derivative="jvp"), make(BCMeanFlow, "continuous")
    with torch.no_grad():
        for mine, theirs in zip(ours.policy.parameters(), bc.policy.parameters(), strict=True):
            mine.copy_(theirs.unsqueeze(1))
    batch, key = random_batch(SPEC, dtype=F64), UpdateKey([0])
    loss, _ = ours.policy_loss(batch, ours.encode(batch.obs), key)
    wanted, _ = bc.policy_loss(bc.encode(batch.obs), batch.action, key.at(0))
    close(loss, wanted)
    for mine, theirs in zip(
        torch.autograd.grad(loss.sum(), ours.policy.parameters()),
        torch.autograd.grad(wanted.sum(), bc.policy.parameters()),
        strict=True,
    ):
        torch.testing.assert_close(mine.sum(1), theirs, rtol=0, atol=1e-12)


def test_each_loss_has_a_gradient_for_its_own_networks_only():
    assert_each_loss_trains_its_own(shifted(), random_batch(SPEC, dtype=F64))


def test_a_missing_law_of_the_times_is_uniform():
    """Without it, the times would be drawn from the law that comes last."""
    assert make(OM2P, "continuous", times=Times(law=None)).times == make(OM2P, "continuous").times


def test_the_target_critic_follows_and_the_agents_stay_apart():
    """Other data of one agent leave the networks of the others as they are, target networks included."""
    first, second = shifted(), shifted()
    before = first.target_critic.mlp.output.weight.clone()
    for update in range(3):
        batch = random_batch(SPEC, source=update, dtype=F64)
        other = batch.map(torch.clone)
        for field in ("obs", "next_obs", "action"):
            getattr(other, field)[:, :, 1] *= 0.5
        first.step(batch, UpdateKey([0]).at(update))
        second.step(other, UpdateKey([0]).at(update))
    assert not torch.equal(before, first.target_critic.mlp.output.weight)
    theirs = dict(second.named_parameters())
    for name, mine in first.named_parameters():
        pairs = zip(mine.chunk(3, 1), theirs[name].chunk(3, 1), strict=True)
        assert [torch.equal(*pair) for pair in pairs] == [True, False, True], name


def test_more_steps_than_one_follow_the_average_velocity():
    algorithm, o = make(OM2P, "continuous"), torch.randn(1, 4, 3, 8, dtype=F64)
    z = 0.1 * torch.randn(1, 4, 3, 2, dtype=F64)
    half = z - 0.5 * algorithm.policy(z, z.new_full((1,), 0.5), z.new_ones(1), o, None)
    wanted = (half - 0.5 * algorithm.policy(half, z.new_zeros(1), z.new_full((1,), 0.5), o, None)).clamp(-1, 1)
    seen = algorithm.execute(o, None, UpdateKey([0]), Acting(noise=0.0, steps=2))
    still = algorithm.sample(o, torch.zeros_like(z), 2)
    torch.testing.assert_close(seen, still, rtol=0, atol=1e-12)
    torch.testing.assert_close(algorithm.sample(o, z, 2), wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("delta", [0.0, 1e-12, 1.5])
def test_a_difference_that_float32_cannot_resolve_is_refused(delta):
    with pytest.raises(ConfigError, match=r"algo\.fd_delta must lie between 1e-06 and 1"):
        make(OM2P, "continuous", fd_delta=delta)
