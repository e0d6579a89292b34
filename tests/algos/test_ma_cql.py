"""MA-CQL against slow references in float64 (tolerance 1e-10); special cases; illegal actions."""

import math

import pytest
import torch
import torch.nn.functional as F

from tests.algos import reference as ref
from tests.algos.cases import F64, SPECS, close, make, table
from tests.algos.conservative_cases import acted, case, critic_loss, rated, trained
from vgm2p.algos.ma_cql import MACQL, Conservatism
from vgm2p.algos.omar import OMAR
from vgm2p.errors import ConfigError

MIXERS = ["sum", "mean", "independent"]


def listed(algorithm, critic, obs):
    """Values of all discrete actions, (C, B, N, A), one row and member at a time."""
    values = torch.zeros(2, *obs.shape[1:3], 4, dtype=F64)
    for b in range(obs.shape[1]):
        for i in range(obs.shape[2]):
            for e in range(2):
                values[e, b, i] = ref.plain_mlp(critic.mlp, ref.encode(algorithm, obs[0, b, i], i), 0, e)
    return values


def double_q(algorithm, batch):
    """The target's value of the legal action that the online critic prefers, (B, N)."""
    online, target = (listed(algorithm, c, batch.next_obs) for c in (algorithm.critic, algorithm.target_critic))
    scores = online.mean(0).masked_fill(~batch.next_legal[0], -torch.inf)
    return target.mean(0).gather(-1, scores.argmax(-1, keepdim=True)).squeeze(-1)


def over_legal(row, legal):
    return math.log(sum(math.exp(float(q.detach())) for q, allowed in zip(row, legal, strict=True) if allowed))


@pytest.mark.parametrize("mixer", MIXERS)
@pytest.mark.parametrize("source", range(3))
def test_discrete_critic_loss(source, mixer):
    algorithm, batch, key = case(MACQL, "discrete", source, mixer=mixer)
    every = listed(algorithm, algorithm.critic, batch.obs)
    q = every.gather(-1, batch.action[..., None].expand(2, -1, -1, 1)).squeeze(-1)
    td = ref.td_reference(
        q, batch.reward[0], double_q(algorithm, batch), batch.bootstrap[0], batch.valid[0], 0.9, mixer
    )
    share, scale = (1 / 3 if mixer == "mean" else 1.0), (1 / 3 if mixer == "independent" else 1.0)
    gap = sum(
        over_legal(share * every[e, b, i], batch.legal[0, b, i]) - share * q[e, b, i]
        for e in range(2)
        for b, i in ref.rows(batch)
    )
    close(critic_loss(algorithm, batch, key), 0.5 * td + 0.7 * scale * gap / (2 * 8))


def qmix(mixing, q, x):
    """Q_tot of one joint action: q (N,), x (D,)."""

    def hyper(mlp):
        h = x
        for layer in mlp.hidden:
            h = F.relu(layer.weight[0] @ h + layer.bias[0])
        return mlp.output.weight[0] @ h + mlp.output.bias[0]

    hidden = F.elu(q @ hyper(mixing.first).reshape(len(q), -1).abs() + hyper(mixing.first_bias))
    return hidden @ hyper(mixing.second).abs() + hyper(mixing.second_bias)[0]


def seen_by_mixer(algorithm, obs):
    return ((obs - algorithm.obs_mean) / algorithm.obs_std).flatten()


@pytest.mark.parametrize("source", range(3))
def test_critic_loss_under_qmix(source):
    algorithm, batch, key = case(MACQL, "discrete", source, mixer="qmix")
    seen = critic_loss(algorithm, batch, key)
    scores = key.at(source).uniform("cql_joint", (8, 4, 3, 4)).masked_fill(~batch.legal.unsqueeze(2), -1.0)
    drawn = torch.cat([scores.argmax(-1), batch.action.unsqueeze(2)], 2)[0]  # (B, K + 1, N)
    every, following = listed(algorithm, algorithm.critic, batch.obs), double_q(algorithm, batch)
    td = gap = 0.0
    for b in range(8):
        now, then = (seen_by_mixer(algorithm, obs[0, b]) for obs in (batch.obs, batch.next_obs))
        y = batch.reward[0, b] + 0.9 * batch.bootstrap[0, b] * qmix(algorithm.target_mixing, following[b], then)
        for e in range(2):
            totals = [qmix(algorithm.mixing, every[e, b][range(3), joint], now) for joint in drawn[b]]
            td += batch.valid[0, b] * (totals[-1] - y) ** 2 / 2 / batch.valid.sum()
            gap += (math.log(sum(math.exp(float(total.detach())) for total in totals)) - totals[-1]) / (2 * 8)
    close(seen, 0.5 * td + 0.7 * gap)


def gaussian(noise, sigma):
    return sum(float(-0.5 * (e / sigma) ** 2 - math.log(sigma) - 0.5 * math.log(2 * math.pi)) for e in noise)


@pytest.mark.parametrize("mixer", MIXERS)
@pytest.mark.parametrize("source", range(3))
def test_continuous_critic_loss(source, mixer):
    algorithm, batch, key = case(MACQL, "continuous", source, mixer=mixer)
    seen = critic_loss(algorithm, batch, key)
    key.at(source)
    uniform = 2 * key.uniform("cql_uniform", (8, 3, 3, 2))[0].to(F64) - 1
    noise = [0.3 * key.normal(purpose, (8, 3, 3, 2))[0].to(F64) for purpose in ("cql_now", "cql_next")]
    q = table(algorithm, algorithm.critic, batch.obs, batch.action)
    next_action = torch.stack(
        [acted(algorithm.target_policy, algorithm, batch.next_obs, b, i) for b, i in ref.rows(batch)]
    )
    following = table(algorithm, algorithm.target_critic, batch.next_obs, next_action.reshape(1, 8, 3, 2)).amin(0)
    td = ref.td_reference(q, batch.reward[0], following, batch.bootstrap[0], batch.valid[0], 0.9, mixer)
    share, scale = (1 / 3 if mixer == "mean" else 1.0), (1 / 3 if mixer == "independent" else 1.0)
    gap = 0.0
    for b, i in ref.rows(batch):
        means = [acted(algorithm.policy, algorithm, obs, b, i) for obs in (batch.obs, batch.next_obs)]
        drawn = [(uniform[b, k, i], -2 * math.log(2)) for k in range(3)]
        for mean, e in zip(means, noise, strict=True):
            drawn += [((mean + e[b, k, i]).clamp(-1, 1), gaussian(e[b, k, i], 0.3)) for k in range(3)]
        for e in range(2):
            terms = [(share * rated(algorithm, batch.obs, b, i, a, e) - log) / 0.8 for a, log in drawn]
            gap += 0.8 * math.log(sum(math.exp(float(term.detach())) for term in terms)) - share * q[e, b, i]
    close(seen, 0.5 * td + 0.7 * scale * gap / (2 * 8))


@pytest.mark.parametrize("rating", ["min", "first"])
def test_policy_loss(rating):
    algorithm, batch, key = case(MACQL, "continuous", 0, rating=rating)
    total = 0.0
    for b, i in ref.rows(batch):
        action = acted(algorithm.policy, algorithm, batch.obs, b, i)
        both = [rated(algorithm, batch.obs, b, i, action, e) for e in range(2)]
        total += -(min(both) if rating == "min" else both[0]) + 1e-3 * (action**2).mean()
    close(algorithm.policy_loss(batch, algorithm.encode(batch.obs), key)[0], total / 24)


# --- what it reduces to -----------------------------------------------------------------------------------------------


class WithoutPenalty(MACQL):
    """Double DQN; TD3 without smoothing and delay."""

    def penalty(self, batch, o, next_o, q, every, key):
        return o.new_zeros(len(self.seeds))


LEARNERS = [(kind, mixer) for kind in SPECS for mixer in MIXERS] + [("discrete", "qmix")]


@pytest.mark.parametrize(("kind", "mixer"), LEARNERS)
def test_with_weight_0_it_is_q_learning(kind, mixer):
    mine = trained(make(MACQL, kind, mixer=mixer, cql=Conservatism(weight=0.0, samples=2)))
    theirs = trained(make(WithoutPenalty, kind, mixer=mixer))
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


# --- legality, gradients, settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mixer", [*MIXERS, "qmix"])
def test_values_of_illegal_actions_have_no_gradient(mixer):
    """The last layer's rows of actions that are legal nowhere in the batch."""
    algorithm, batch, key = case(MACQL, "discrete", 0, mixer=mixer)
    batch.legal[..., 3], batch.legal[..., 0], batch.action[batch.action == 3] = False, True, 0
    algorithm.minimise("critic", critic_loss(algorithm, batch, key))
    output = algorithm.critic.mlp.output
    assert (output.weight.grad[..., 3, :] == 0.0).all()
    assert (output.bias.grad[..., 3] == 0.0).all()
    assert (output.weight.grad[..., 0, :] != 0.0).any()


@pytest.mark.parametrize("mixer", [*MIXERS, "qmix"])
def test_the_penalty_has_no_gradient_if_no_agent_has_a_choice(mixer):
    """One legal action everywhere (all agents dead): the penalty has no gradient, and acting takes that action."""
    algorithm, batch, key = case(MACQL, "discrete", 0, mixer=mixer)
    batch.legal[:] = False
    batch.legal[..., 2], batch.action[:] = True, 2
    o = algorithm.encode(batch.obs)
    every = algorithm.critic(o).detach().requires_grad_()
    penalty = algorithm.penalty(batch, o, o, every[..., 2], every, key)
    (gradient,) = torch.autograd.grad(penalty.sum(), every)
    assert gradient.abs().max() < 1e-13
    if mixer != "qmix":
        assert penalty == 0.0
        assert (gradient == 0.0).all()
    assert (algorithm.execute(o, batch.legal, key, None) == 2).all()


@pytest.mark.parametrize("cls", [MACQL, OMAR])
def test_the_policys_loss_reaches_the_policy_only(cls):
    algorithm, batch, key = case(cls, "continuous", 0)
    algorithm.policy_loss(batch, algorithm.encode(batch.obs), key)[0].sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in algorithm.policy.parameters())
    assert all(p.grad is None and p.requires_grad for p in algorithm.critic.parameters())
    algorithm.policy.zero_grad()
    critic_loss(algorithm, batch, key.at(1)).sum().backward()
    assert all(p.grad is None or (p.grad == 0).all() for p in algorithm.policy.parameters())
    assert all(p.grad is not None for p in algorithm.critic.parameters())


def test_the_weight_of_the_penalty_depends_on_the_kind_of_actions():
    assert [make(MACQL, kind).weight for kind in ("discrete", "continuous")] == [3.0, 5.0]
    assert make(MACQL, "discrete", cql=Conservatism(weight=0.0)).weight == 0.0


def test_qmix_is_for_discrete_actions():
    with pytest.raises(ConfigError, match=r"algo\.mixer=qmix is for discrete actions"):
        make(MACQL, "continuous", mixer="qmix")
