"""Tests of all value learners: TD targets at the end of an episode, target networks, penalties, learnt mixers."""

import pytest
import torch

from tests.algos.cases import F64, SPECS, close, make
from tests.support import random_batch
from vgm2p.algos.ma_bcq import MABCQ
from vgm2p.algos.ma_td3bc import MATD3BC
from vgm2p.algos.parts import td_loss
from vgm2p.groups import Net
from vgm2p.nn.mlp import MLP
from vgm2p.rng import UpdateKey
from vgm2p.types import per_seed_mean

KINDS = {"continuous": MATD3BC, "discrete": MABCQ}


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_next_value_the_target_is_the_reward(kind):
    algorithm, batch = make(KINDS[kind], kind, mixer="mean"), random_batch(SPECS[kind], dtype=F64)
    batch.bootstrap.zero_()
    o, next_o = algorithm.encode_pair(batch)
    before, _ = algorithm.critic_loss(batch, o, next_o, UpdateKey([0]))
    batch.next_obs.add_(3.0)
    after, _ = algorithm.critic_loss(batch, o, algorithm.encode(batch.next_obs), UpdateKey([0]))
    assert torch.equal(before, after)
    batch.reward += 1.0
    assert not torch.equal(before, algorithm.critic_loss(batch, o, next_o, UpdateKey([0]))[0])


@pytest.mark.parametrize("kind", KINDS)
def test_targets_begin_as_copies_and_follow_at_their_rate(kind):
    algorithm = make(KINDS[kind], kind, **({"delay": 1} if kind == "continuous" else {}))
    pairs = [(algorithm.critic, algorithm.target_critic)]
    if kind == "continuous":
        pairs.append((algorithm.policy, algorithm.target_policy))
    begun = [[p.clone() for p in target.parameters()] for _, target in pairs]
    for (online, _), old in zip(pairs, begun, strict=True):
        assert all(torch.equal(p, q) for p, q in zip(online.parameters(), old, strict=True))
    algorithm.step(random_batch(SPECS[kind], dtype=F64), UpdateKey([0]))
    for (online, target), old in zip(pairs, begun, strict=True):
        for p, new, was in zip(online.parameters(), target.parameters(), old, strict=True):
            torch.testing.assert_close(new, 0.995 * was + 0.005 * p, rtol=0, atol=1e-15)


class Penalised(MABCQ):
    """Pushes all legal values down."""

    def penalty(self, batch, o, next_o, q, every, key):
        assert torch.equal(q, every.gather(-1, batch.action[:, None, ..., None]).squeeze(-1))
        return 3.0 * per_seed_mean(every.masked_fill(~batch.legal.unsqueeze(1), 0.0))


def test_a_penalty_is_added_to_half_of_the_squared_residual():
    plain, pushed = (make(cls, "discrete") for cls in (MABCQ, Penalised))
    batch = random_batch(SPECS["discrete"], dtype=F64)
    td, info = plain.critic_loss(batch, *plain.encode_pair(batch), UpdateKey([0]))
    loss, pushed_info = pushed.critic_loss(batch, *pushed.encode_pair(batch), UpdateKey([0]))
    close(loss, (0.5 * td + pushed_info["penalty"]).item())
    assert "penalty" not in info
    close(pushed_info["td_loss"], td.item())


class Mixed(MATD3BC):
    """Q_tot = sum_i |w_i(joint observation)| Q^i."""

    def make_mixing(self):
        agents = self.spec.n_agents
        return MLP((len(self.seeds),), agents * self.spec.obs_dim, agents, Net(8, 1))

    def team(self, batch, q, following):
        now, then = self.mixing(self.joint(batch.obs)).abs(), self.target_mixing(self.joint(batch.next_obs)).abs()
        return (now.unsqueeze(1) * q).sum(-1, keepdim=True), (then * following).sum(-1, keepdim=True)


def test_a_learnt_mixer_trains_with_the_critic_and_its_target_follows():
    algorithm, batch = make(Mixed, "continuous", gamma=0.9), random_batch(SPECS["continuous"], dtype=F64)
    o, next_o = algorithm.encode_pair(batch)
    with torch.no_grad():
        for p in algorithm.target_mixing.parameters():
            p.add_(0.1)
        then = (algorithm.target_mixing(algorithm.joint(batch.next_obs)).abs()) * algorithm.following(
            batch, next_o, UpdateKey([0]).at(1)
        )
    q = (algorithm.mixing(algorithm.joint(batch.obs)).abs().unsqueeze(1) * algorithm.critic(o, batch.action)).sum(-1)
    wanted = q - (batch.reward + 0.9 * batch.bootstrap * then.sum(-1)).unsqueeze(1)
    close(
        algorithm.critic_loss(batch, o, next_o, UpdateKey([0]).at(1))[0],
        (batch.valid.unsqueeze(1) * wanted.square()).mean() / batch.valid.mean(),
    )
    before = [p.clone() for p in (*algorithm.mixing.parameters(), *algorithm.target_mixing.parameters())]
    for update in range(2):
        algorithm.step(batch, UpdateKey([0]).at(update))
    after = (*algorithm.mixing.parameters(), *algorithm.target_mixing.parameters())
    assert all(not torch.equal(p, old) for p, old in zip(after, before, strict=True))


@pytest.mark.parametrize(("mixer", "times"), [("sum", 3.0), ("mean", 1.0), ("independent", 1.0)])
def test_the_logged_q_is_the_value_in_the_td_residual(mixer, times):
    """Under `sum` it is the agents' sum that drifts to mean reward / (1 - gamma)."""
    algorithm, batch = make(MATD3BC, "continuous", mixer=mixer, gamma=0.9), random_batch(SPECS["continuous"], dtype=F64)
    o, next_o = algorithm.encode_pair(batch)
    _, info = algorithm.critic_loss(batch, o, next_o, UpdateKey([0]))
    close(info["q_mean"], times * algorithm.critic(o, batch.action).mean().item())
    level = (batch.valid * batch.reward).mean() / (batch.valid * (1 - 0.9 * batch.bootstrap)).mean()
    close(info["q_fixed_point"], level.item())
    equal = torch.full((1, 2, 8, 3), level.item() / times, dtype=F64)  # at its level, what is left does not drift
    discounted = 0.9 * batch.bootstrap.unsqueeze(-1) * equal[:, 0]
    q = equal.requires_grad_()
    td_loss(q, batch.reward, discounted, batch.valid, mixer).sum().backward()
    assert abs(q.grad.sum().item()) < 1e-12
