"""OMIGA and MA-ICQ: losses against loops in float64, gradients that stay in their networks, legality."""

import math
import statistics

import pytest
import torch

from tests.algos import reference as ref
from tests.algos.cases import F64, SPECS, close, make
from tests.support import random_batch
from vgm2p.algos.ma_icq import MAICQ
from vgm2p.algos.omiga import OMIGA, regression
from vgm2p.algos.parts import CriticSettings, batch_softmax, tanh_normal_log_prob
from vgm2p.rng import UpdateKey
from vgm2p.types import Seen

CASES = [(kind, source) for kind in SPECS for source in range(3)]
GAMMA = 0.9
BOTH = pytest.mark.parametrize("cls", [OMIGA, MAICQ])


def made(cls, kind, **options):
    """An algorithm whose targets differ from its networks."""
    algorithm = make(cls, kind, gamma=GAMMA, critic=CriticSettings(members=2, reward_scale=0.7), **options)
    with torch.no_grad():
        for follower in algorithm.targets:
            follower.flat.add_(0.1 * torch.randn(follower.flat.shape, generator=torch.Generator().manual_seed(3)))
    return algorithm


def q_row(algorithm, critic, obs, action, b, i):
    """Q^i(o, a), mean of the two members."""
    oid = ref.encode(algorithm, obs[0, b, i], i)
    if algorithm.spec.discrete:
        return sum(ref.plain_mlp(critic.mlp, oid, 0, e)[action] for e in range(2)) / 2
    return sum(ref.plain_mlp(critic.mlp, torch.cat([oid, action]), 0, e)[0] for e in range(2)) / 2


def mixer_row(algorithm, mixer, obs, b):
    """w(x), b(x) of a row."""
    x = torch.cat([(o - algorithm.obs_mean) / algorithm.obs_std for o in obs[0, b]])
    head = ref.plain_mlp(mixer.mlp, x)
    N = algorithm.spec.n_agents
    w = head[:N].abs()
    return (w / w.sum(), 0.0) if isinstance(algorithm, MAICQ) else (w, head[N])


def log_prob_row(algorithm, batch, b, i):
    head = ref.plain_mlp(
        getattr(algorithm.policy, "mlp", algorithm.policy), ref.encode(algorithm, batch.obs[0, b, i], i)
    )
    if algorithm.spec.discrete:
        return head[batch.action[0, b, i]] - head[batch.legal[0, b, i]].exp().sum().log()
    total, A = 0.0, algorithm.spec.action_dim
    for j in range(A):
        a = min(max(float(batch.action[0, b, i, j]), -0.999), 0.999)
        mean, log_std = head[j].clamp(-9, 9), head[A + j].clamp(-5, 2)
        normal = torch.distributions.Normal(mean, log_std.exp())
        total = total + normal.log_prob(torch.tensor(math.atanh(a), dtype=F64)) - math.log(1 - a * a)
    return total


def critic_reference(algorithm, batch, following):
    """Mean over valid rows and members of (Q_tot - [r + gamma * bootstrap * following])^2."""
    total = 0.0
    for b in range(batch.obs.shape[1]):
        y = 0.7 * batch.reward[0, b] + GAMMA * batch.bootstrap[0, b] * following[b]
        w, bias = mixer_row(algorithm, algorithm.mixer, batch.obs, b)
        for e in range(2):
            q = bias
            for i in range(algorithm.spec.n_agents):
                oid, a = ref.encode(algorithm, batch.obs[0, b, i], i), batch.action[0, b, i]
                row = oid if algorithm.spec.discrete else torch.cat([oid, a])
                values = ref.plain_mlp(algorithm.critic.mlp, row, 0, e)
                q = q + w[i] * values[a if algorithm.spec.discrete else 0]
            total = total + batch.valid[0, b] * (q - y) ** 2 / 2
    return total / batch.valid.sum()


@pytest.mark.parametrize(("kind", "source"), CASES)
def test_critic_loss_of_omiga(kind, source):
    algorithm, batch = made(OMIGA, kind), random_batch(SPECS[kind], source=source, dtype=F64)
    o, next_o = algorithm.encode_pair(batch)
    loss, _ = algorithm.critic_loss(batch, o, algorithm.following(batch, next_o))
    following = []
    for b in range(8):
        w, bias = mixer_row(algorithm, algorithm.target_mixer, batch.next_obs, b)
        oids = [ref.encode(algorithm, batch.next_obs[0, b, i], i) for i in range(3)]
        v = [ref.plain_mlp(algorithm.target_value.mlp, oid)[0] for oid in oids]
        following.append(sum(w[i] * v[i] for i in range(3)) + bias)
    close(loss, critic_reference(algorithm, batch, following))


@pytest.mark.parametrize("v_loss", ["linear", "source"])
@pytest.mark.parametrize("alpha", [10.0, 0.02])
@pytest.mark.parametrize(("kind", "source"), CASES)
def test_value_and_policy_loss_of_omiga(kind, source, alpha, v_loss):
    """At alpha 0.02, some z lie above 10 and some below -10."""
    algorithm = made(OMIGA, kind, alpha=alpha, v_loss=v_loss, weight_cap=5.0)
    batch = random_batch(SPECS[kind], source=source, dtype=F64)
    o = algorithm.encode(batch.obs)
    z, wv, clone = [], [], 0.0
    for b in range(8):
        w, _ = mixer_row(algorithm, algorithm.target_mixer, batch.obs, b)
        for i in range(3):
            v = ref.plain_mlp(algorithm.value.mlp, ref.encode(algorithm, batch.obs[0, b, i], i))[0]
            q = q_row(algorithm, algorithm.target_critic, batch.obs, batch.action[0, b, i], b, i)
            z.append(float((w[i] * (q - v) / alpha).detach()))
            wv.append(float((w[i] * v / alpha).detach()))
            clone += -min(math.exp(min(z[-1], 20.0)), 5.0) * log_prob_row(algorithm, batch, b, i) / 24
    assert (max(z) > 10.0 > -10.0 > min(z)) == (alpha == 0.02)
    used = [max(min(x, 10.0), -10.0) if v_loss == "source" else min(x, 10.0) for x in z]
    m = max(*used, -1.0)
    above = [1.0 + max(x - 10.0, 0.0) if v_loss == "linear" else 1.0 for x in z]
    rows = zip(used, above, wv, strict=True)
    wanted = sum(math.exp(x - m) * factor + math.exp(-m) * y for x, factor, y in rows) / 24
    w, q, v = algorithm.judge(batch, o)
    close(regression(w, q, v, alpha, v_loss == "linear"), wanted)
    weight, info = algorithm.weights((w * (q - v) / alpha).detach())
    close(algorithm.clone(batch, o, weight)[0], clone)
    close(info["clamped"], sum(x > math.log(5.0) for x in z) / 24)
    close(info["ess"], float(weight.sum() ** 2 / (24 * weight.square().sum())))
    close(info["weight_max"], float(weight.max()))


@pytest.mark.parametrize("target_weight", ["softmax", "none"])
@pytest.mark.parametrize(("kind", "source"), CASES)
def test_critic_loss_of_ma_icq(kind, source, target_weight):
    algorithm = made(MAICQ, kind, target_weight=target_weight, target_beta=0.3)
    batch = random_batch(SPECS[kind], source=source, dtype=F64)
    o, next_o = algorithm.encode_pair(batch)
    following, _ = algorithm.following(batch, next_o)
    loss, _ = algorithm.critic_loss(batch, o, following)
    value = []
    for b in range(8):
        w, _ = mixer_row(algorithm, algorithm.target_mixer, batch.next_obs, b)
        action = batch.next_action[0, b]
        q = [q_row(algorithm, algorithm.target_critic, batch.next_obs, action[i], b, i) for i in range(3)]
        value.append(sum(w[i] * q[i] for i in range(3)))
    counted = [b for b in range(8) if batch.valid[0, b] and batch.bootstrap[0, b]]
    z = sum(math.exp(value[b] / 0.3) for b in counted) / len(counted)
    weights = [math.exp(v / 0.3) / z if target_weight == "softmax" else 1.0 for v in value]
    close(loss, critic_reference(algorithm, batch, [w * v for w, v in zip(weights, value, strict=True)]))


@pytest.mark.parametrize("options", [{}, {"standardise": False, "beta": 0.1, "weight_cap": 2.0}], ids=str)
@pytest.mark.parametrize(("kind", "source"), CASES)
def test_policy_loss_of_ma_icq(kind, source, options):
    algorithm, batch = made(MAICQ, kind, **options), random_batch(SPECS[kind], source=source, dtype=F64)
    o = algorithm.encode(batch.obs)
    advantage = torch.zeros(8, 3, dtype=F64)
    for b, i in ref.rows(batch):
        advantage[b, i] = advantage_row(algorithm, batch, b, i)
    if options:
        scaled = advantage / 0.1
    else:
        chosen = [
            float(advantage[b, i].detach())
            for b, i in ref.rows(batch)
            if kind == "continuous" or batch.legal[0, b, i].sum() > 1
        ]
        scaled = advantage / (statistics.stdev(chosen) if kind == "continuous" else statistics.pstdev(chosen))
    wanted, clamped = 0.0, 0
    for b, i in ref.rows(batch):
        k, _ = mixer_row(algorithm, algorithm.mixer, batch.obs, b)
        raw = float((scaled[b, i].exp() / scaled[:, i].exp().mean()).detach())
        clamped += raw > options.get("weight_cap", 100.0)
        weight = 3 * k[i] * min(raw, options.get("weight_cap", 100.0))
        wanted += -weight * log_prob_row(algorithm, batch, b, i) / 24
    weight, info = algorithm.weights(batch, o)
    close(algorithm.clone(batch, o, weight)[0], wanted)
    close(info["clamped"], clamped / 24)


def advantage_row(algorithm, batch, b, i):
    """Q(o, a) minus the policy's mean of Q over legal actions, or minus Q at tanh(mean)."""
    oid = ref.encode(algorithm, batch.obs[0, b, i], i)
    head = ref.plain_mlp(getattr(algorithm.policy, "mlp", algorithm.policy), oid)
    stored = q_row(algorithm, algorithm.critic, batch.obs, batch.action[0, b, i], b, i)
    if algorithm.spec.discrete:
        legal = [a for a in range(4) if batch.legal[0, b, i, a]]
        total = sum(head[a].exp() for a in legal)
        values = [q_row(algorithm, algorithm.critic, batch.obs, a, b, i) for a in legal]
        return stored - sum(head[a].exp() / total * q for a, q in zip(legal, values, strict=True))
    return stored - q_row(algorithm, algorithm.critic, batch.obs, torch.tanh(head[:2].clamp(-9, 9)), b, i)


def names_with_gradient(algorithm, loss):
    algorithm.zero_grad()
    loss.sum().backward()
    return {name.split(".")[0] for name, p in algorithm.named_parameters() if p.grad is not None and p.grad.any()}


@BOTH
@pytest.mark.parametrize("kind", SPECS)
def test_every_loss_trains_its_own_networks_alone(cls, kind):
    """Above all, the policy's loss does not train the mixer, whose weights it uses."""
    algorithm, batch = made(cls, kind), random_batch(SPECS[kind], dtype=F64)
    o, next_o = algorithm.encode_pair(batch)
    following = algorithm.following(batch, next_o)
    following = following if cls is OMIGA else following[0]
    assert names_with_gradient(algorithm, algorithm.critic_loss(batch, o, following)[0]) == {"critic", "mixer"}
    if cls is OMIGA:
        w, q, v = algorithm.judge(batch, o)
        assert names_with_gradient(algorithm, regression(w, q, v, 10.0)) == {"value"}
        weight, _ = algorithm.weights((w * (q - v.detach())) / 10.0)
    else:
        weight, _ = algorithm.weights(batch, o)
    assert names_with_gradient(algorithm, algorithm.clone(batch, o, weight)[0]) == {"policy"}


def losses(algorithm, batch):
    """What two updates report: every loss, and the weights."""
    key = UpdateKey([0])
    return [algorithm.step(batch, key.at(update)) for update in range(2)]


@BOTH
@pytest.mark.parametrize("wild_value", [1e4, math.inf])
def test_illegal_actions_do_not_matter(cls, wild_value):
    """Action 3 is never legal: whatever the networks say of it, two updates are the same."""
    batch = random_batch(SPECS["discrete"], rows=32, dtype=F64)
    legal, next_legal = batch.legal.clone(), batch.next_legal.clone()
    for mask in (legal, next_legal):
        mask[..., 3] = False
        mask[..., 0] = True
    batch.legal, batch.next_legal = legal, next_legal
    batch.action, batch.next_action = batch.action % 3, batch.next_action % 3
    for mask, action in ((legal, batch.action), (next_legal, batch.next_action)):
        mask.scatter_(-1, action.unsqueeze(-1), True)
    calm, wild = make(cls, "discrete"), make(cls, "discrete")
    with torch.no_grad():
        for mlp in (wild.policy, wild.critic.mlp, wild.target_critic.mlp):
            mlp.output.bias[..., 3] = wild_value
    for mine, theirs in zip(losses(calm, batch), losses(wild, batch), strict=True):
        assert mine.keys() == theirs.keys()
        for name in mine:
            torch.testing.assert_close(mine[name], theirs[name], rtol=1e-12, atol=1e-12)
    action, _ = wild.act(Seen(batch.obs, legal), None, UpdateKey([0]))
    assert (action != 3).all()


@BOTH
def test_an_agent_with_one_legal_action_does_not_train_the_policy(cls):
    """Dead agents: log pi is 0, and under MA-ICQ the advantage, too."""
    batch = random_batch(SPECS["discrete"], rows=32, dtype=F64)
    batch.legal[:, :, 1] = torch.tensor([False, False, True, False])
    batch.action[:, :, 1] = 2
    algorithm = made(cls, "discrete")
    o = algorithm.encode(batch.obs).requires_grad_()
    log_prob = algorithm.log_prob(o, batch.action, batch.legal)
    assert (log_prob[:, :, 1] == 0.0).all()
    (gradient,) = torch.autograd.grad(algorithm.clone(batch, o, torch.ones_like(log_prob))[0].sum(), o)
    assert (gradient[:, :, 1] == 0.0).all()
    assert (gradient[:, :, 0] != 0.0).any()
    if cls is MAICQ:
        assert algorithm.advantage(batch, o)[:, :, 1].abs().max() < 1e-14
    acted, _ = algorithm.act(Seen(batch.obs, batch.legal), None, UpdateKey([0]))
    assert (acted[:, :, 1] == 2).all()


@BOTH
@pytest.mark.parametrize("kind", SPECS)
def test_rows_without_a_next_step_take_nothing_from_it(cls, kind):
    """What stands in the next step of an invalid row, or of one that does not bootstrap, changes no loss."""
    batch = random_batch(SPECS[kind], rows=32, dtype=F64)
    without = (batch.valid * batch.bootstrap == 0.0)[0]
    changed = batch.map(torch.clone)
    changed.next_obs[0, without] = 30.0
    changed.next_action[0, without] = 0 if kind == "discrete" else 1.0
    assert without.any()
    for mine, theirs in zip(losses(make(cls, kind), batch), losses(make(cls, kind), changed), strict=True):
        for name in mine:
            assert torch.equal(mine[name], theirs[name]), name


def test_weights_of_a_batch_without_valid_rows_are_zero():
    x = torch.randn(2, 5, dtype=F64)
    valid = torch.tensor([[1.0, 0.0, 1.0, 1.0, 0.0], [0.0] * 5], dtype=F64)
    weight = batch_softmax(x, 0.5, valid)
    close(weight[0].sum(), 3.0)
    assert (weight[valid == 0.0] == 0.0).all()
    assert batch_softmax(100.0 * x, 0.5, cap=2.0).max() == 2.0


def test_losses_are_finite_for_extreme_values_in_float32():
    z = torch.tensor([[[1e4], [-1e4], [3.0]]])
    ones, v = torch.ones_like(z), torch.zeros_like(z).requires_grad_()
    loss = regression(ones, 10.0 * z, v, 10.0)
    (gradient,) = torch.autograd.grad(loss.sum(), v)
    assert torch.isfinite(loss).all()
    assert gradient[0, 0] < 0.0 < gradient[0, 1]  # v rises to a higher q, and falls to a lower one
    weight, _ = OMIGA(SPECS["continuous"], [0]).weights(z)
    assert weight.flatten().tolist()[:2] == [pytest.approx(100.0), 0.0]
    action = torch.tensor([[1.0, -1.0]])
    assert torch.isfinite(tanh_normal_log_prob(action, torch.zeros(1, 2), torch.full((1, 2), -5.0), 1e-3)).all()
