"""`predict=x`: losses against slow float64 references, identities, legal actions (docs/algorithms/clean_action.md)."""

import pytest
import torch

from tests.algos import reference as ref
from tests.algos.cases import F64, SPECS, close, make
from tests.oracles.exact import gaussian_u, gaussian_v, rows
from tests.support import random_batch
from vgm2p.algos.bc_flow import BCFlow
from vgm2p.algos.bc_meanflow import BCMeanFlow
from vgm2p.algos.mac_flow import MACFlow
from vgm2p.algos.vgm2p import VGM2P
from vgm2p.algos.vgm2p_fm import VGM2PFlowMatching
from vgm2p.algos.vgm2p_switches import VGM2PSwitches
from vgm2p.errors import ConfigError
from vgm2p.flows.flow_matching import euler_sample
from vgm2p.flows.head import LEAST_K, Head
from vgm2p.flows.meanflow import meanflow_loss, meanflow_sample
from vgm2p.flows.path import Times
from vgm2p.rng import UpdateKey
from vgm2p.types import Acting, Seen

CASES = [(kind, source) for kind in SPECS for source in range(2)]
LATE = Times("late")


def clean(y, legal):
    """D of one row: softmax over the legal actions, the others 0; y itself if there are none."""
    if legal is None:
        return y
    return torch.where(legal, (y - y[legal].max()).exp(), 0.0) / (y[legal] - y[legal].max()).exp().sum()


def drawn(key, shape, count):
    return torch.sigmoid(key.normal("time" if count == 1 else "times", (*shape, count)) + 1.0).to(F64)


def row_loss(mlp, x, v, k, r, tail, legal, cross_entropy):
    """The loss of one row: r None is flow matching; du/dk of u = (x - D) / k by torch.func.jvp."""
    if r is None:
        y = ref.plain_mlp(mlp, torch.cat([x, k, *tail]))
        if cross_entropy:
            return -(y[legal].log_softmax(0) * (x - k * v)[legal]).sum()
        return ((clean(y, legal) - (x - k * v)) ** 2).mean()

    def u(x, r, k):
        return (x - clean(ref.plain_mlp(mlp, torch.cat([x, r, k, *tail])), legal)) / k

    value, slope = torch.func.jvp(u, (x, r, k), (v, torch.zeros_like(r), torch.ones_like(k)))
    target = x - k * (v - (k - r) * slope)  # of D
    return (((x - k * value) - target.detach()) ** 2).mean()


def reference(algorithm, mlp, batch, source, meanflow, c=None, omega=1.0):
    """Mean over rows with a choice; with conditions c, the velocities are guided by class 1."""
    key, shape, spec = UpdateKey([0]).at(source), batch.obs.shape[1:3], algorithm.spec
    eps = key.normal("flow_noise", (*shape, spec.action_dim)).to(F64)
    times, total = drawn(key, shape, 2 if meanflow else 1), 0.0
    for b, i in ref.choices(batch):
        a, o = ref.vector(algorithm, batch.action[0, b, i]), ref.encode(algorithm, batch.obs[0, b, i], i)
        legal = batch.legal[0, b, i] if spec.discrete else None
        k, r = times[0, b, i].max().clamp(min=0.02).reshape(1), times[0, b, i].min().reshape(1) if meanflow else None
        x, v, tail = (1 - k) * a + k * eps[0, b, i], eps[0, b, i] - a, [o]
        if c is not None:
            tail, one = ([o, ref.one_hot(j, 2, F64)] for j in (c[0, b, i], 1))
            y = ref.plain_mlp(mlp, torch.cat([x, *[k] * (2 if meanflow else 1), *one])).detach()
            v = omega * v + (1 - omega) * (x - clean(y, legal)) / k
        total = total + row_loss(mlp, x, v, k, r, tail, legal, spec.discrete and omega == 1.0)
    return total / len(ref.choices(batch))


def same(loss, wanted, parameters):
    close(loss.detach(), wanted.detach())
    weights = list(parameters)
    found, expected = (torch.autograd.grad(x.sum(), weights) for x in (loss, wanted))
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-10)


@pytest.mark.parametrize("cls", [BCFlow, BCMeanFlow])
@pytest.mark.parametrize(("kind", "source"), CASES)
def test_cloning_loss_and_its_gradient(cls, kind, source):
    algorithm, batch = make(cls, kind, predict="x", times=LATE), random_batch(SPECS[kind], source=source, dtype=F64)
    found = algorithm.policy_loss(
        algorithm.encode(batch.obs), algorithm.represent(batch.action), UpdateKey([0]).at(source), batch.legal
    )
    meanflow = cls is BCMeanFlow
    wanted = reference(algorithm, algorithm.policy.mlp, batch, source, meanflow)
    same(found[0] if meanflow else found, wanted, algorithm.policy.parameters())


@pytest.mark.parametrize("omega", [1.0, 3.0])
@pytest.mark.parametrize("cls", [VGM2P, VGM2PFlowMatching, VGM2PSwitches])
@pytest.mark.parametrize(("kind", "source"), CASES)
def test_guided_loss_and_its_gradient(cls, kind, source, omega):
    algorithm = make(cls, kind, predict="x", times=LATE, omega=omega)
    batch = random_batch(SPECS[kind], source=source, dtype=F64)
    c = torch.randint(2, batch.obs.shape[:3], generator=torch.Generator().manual_seed(source))
    o, action = algorithm.encode(batch.obs), algorithm.represent(batch.action)
    loss, _ = algorithm.policy_loss(o, action, c, UpdateKey([0]).at(source), batch.legal)
    meanflow = cls is not VGM2PFlowMatching
    same(
        loss,
        reference(algorithm, algorithm.policy.mlp, batch, source, meanflow, c, omega),
        algorithm.policy.parameters(),
    )


@pytest.mark.parametrize(("kind", "source"), CASES)
def test_the_teacher_of_mac_flow(kind, source):
    algorithm, batch = make(MACFlow, kind, predict="x", times=LATE), random_batch(SPECS[kind], source=source, dtype=F64)
    _, info = algorithm.policy_loss(batch, algorithm.encode(batch.obs), UpdateKey([0]).at(source))
    close(info["bc_loss"], reference(algorithm, algorithm.teacher.mlp, batch, source, False).detach())


# --- identities ------------------------------------------------------------------------------------------------------
class Exact:
    """The exact clean action of Gaussian data, D = x - k u."""

    head = Head("x")

    def along(self, x, r, k, o, c, dx, legal):
        def output(x, r, k):
            return x - k * gaussian_u(x, r, k)

        y, dy = torch.func.jvp(output, (x, r, k), (dx, torch.zeros_like(r), torch.ones_like(k)))
        return self.head.along(y, dy, x, dx, k, legal)


def test_the_exact_clean_action_is_a_fixed_point():
    x, r, k = rows()
    loss, u = meanflow_loss(Exact(), x, gaussian_v(x, k), k, r, x, None)
    assert loss.abs().max() < 1e-20
    torch.testing.assert_close(u, gaussian_u(x, r, k), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", SPECS)
def test_the_tangent_goes_through_softmax_and_division(kind):
    algorithm, batch = make(BCMeanFlow, kind, predict="x"), random_batch(SPECS[kind], dtype=F64)
    o, action = algorithm.encode(batch.obs), algorithm.represent(batch.action)
    k, r = algorithm.times.pair(UpdateKey([0]), action)
    dx = torch.randn(action.shape, dtype=F64)
    x = action + 0.3 * dx

    def u(x, r, k):
        return algorithm.policy(x, r, k, o, None, batch.legal)

    wanted = torch.func.jvp(u, (x, r, k), (dx, torch.zeros_like(r), torch.ones_like(k)))
    for mine, theirs in zip(algorithm.policy.along(x, r, k, o, None, dx, batch.legal)[:2], wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-10)


@pytest.mark.parametrize("cls", [BCFlow, BCMeanFlow])
def test_one_pass_is_exactly_the_clean_action(cls):
    algorithm, batch = make(cls, "discrete", predict="x"), random_batch(SPECS["discrete"], dtype=F64)
    o, z, one = algorithm.encode(batch.obs), torch.randn(1, 8, 3, 4, dtype=F64), torch.ones(1, dtype=F64)
    if cls is BCMeanFlow:
        found, times = meanflow_sample(algorithm.policy, z, o, None, 1, batch.legal), (0.0 * one, one)
    else:
        found, times = euler_sample(algorithm.policy, z, o, None, 1, batch.legal), (one,)
    assert torch.equal(found, algorithm.policy.action(z, *times, o, None, batch.legal))
    torch.testing.assert_close(found, z - algorithm.policy(z, *times, o, None, legal=batch.legal), rtol=0, atol=1e-12)


# --- legal actions ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("cls", [BCFlow, BCMeanFlow])
def test_an_illegal_action_has_probability_0_and_no_influence(cls):
    batch = random_batch(SPECS["discrete"], dtype=F64)
    batch.legal[..., 2] = False
    batch.legal[..., 0] = True
    batch.action = torch.where(batch.action == 2, 0, batch.action)
    found = []
    for bias in (0.0, 50.0):
        algorithm = make(cls, "discrete", predict="x")
        with torch.no_grad():
            algorithm.policy.mlp.output.bias[..., 2] += bias
        o, action = algorithm.encode(batch.obs), algorithm.represent(batch.action)
        loss = algorithm.policy_loss(o, action, UpdateKey([0]), batch.legal)
        loss = loss[0] if cls is BCMeanFlow else loss
        found.append((loss, *torch.autograd.grad(loss.sum(), list(algorithm.policy.parameters()))))
        z = torch.randn(1, 8, 3, 4, dtype=F64)
        sample = meanflow_sample if cls is BCMeanFlow else euler_sample
        p = sample(algorithm.policy, z, o, None, 3, batch.legal)
        assert (p[~batch.legal] == 0.0).all()
        torch.testing.assert_close(p.sum(-1), torch.ones(1, 8, 3, dtype=F64), rtol=0, atol=1e-12)
    for mine, theirs in zip(*found, strict=True):
        assert torch.equal(mine, theirs)
    assert (found[0][-1][..., 2] == 0.0).all()


# --- settings --------------------------------------------------------------------------------------------------------
def test_the_default_depends_on_the_kind_of_actions():
    for kind, wanted in (("continuous", ("v", "uniform")), ("discrete", ("x", "late"))):
        algorithm = make(BCMeanFlow, kind, predict=None, times=Times(None))
        assert (algorithm.head.predict, algorithm.times.law) == wanted
        assert (algorithm.remark is None) == (kind == "continuous")
    plain = make(VGM2P, "discrete", predict="v", times=Times(None))
    assert (plain.head.predict, plain.times.law, plain.remark) == ("v", "uniform", None)
    assert make(VGM2P, "continuous", predict="x", times=Times(None)).times.law == "uniform"


def test_late_times_are_near_noise_and_k_has_a_lower_bound():
    like, key = torch.zeros(1, 20_000, 1), UpdateKey([0])
    late = LATE.one(key.at(0), like)
    assert abs(late.median() - torch.sigmoid(torch.tensor(1.0))) < 0.01
    k, r = Times().suited(Head("x")).pair(key.at(1), like)
    assert k.min() == torch.tensor(LEAST_K)
    assert r.min() < 0.001
    assert (r <= k).all()
    assert Times().one(key.at(2), like).min() < 0.001


@pytest.mark.parametrize("cls", [BCFlow, BCMeanFlow, VGM2P, MACFlow])
def test_sampled_actions_follow_the_probabilities(cls):
    algorithm = make(cls, "discrete", predict="x")
    obs = torch.randn(1, 1, 3, 5, dtype=F64).expand(1, 6000, 3, 5)
    legal = torch.tensor([True, True, False, True]).expand(1, 6000, 3, 4)
    with torch.no_grad():
        for p in algorithm.parameters():
            p.mul_(2.0)
        action = algorithm.act(Seen(obs, legal), None, UpdateKey([0]), Acting(noise=0.0, sample=True))[0]
        o, z = algorithm.encode(obs[:, :1]), torch.zeros(1, 1, 3, 4, dtype=F64)
        if cls is MACFlow:
            p = torch.softmax(algorithm.mu(o, z).masked_fill(~legal[:, :1], -torch.inf), -1)
        elif cls is VGM2P:
            p = algorithm.sample(z, o, 1, legal[:, :1])
        else:
            sample = meanflow_sample if cls is BCMeanFlow else euler_sample
            p = sample(algorithm.policy, z, o, None, 1, legal[:, :1])
    shares = torch.nn.functional.one_hot(action, 4).to(F64).mean(1)
    torch.testing.assert_close(shares, p[:, 0], rtol=0, atol=0.03)


def test_a_sample_needs_probabilities():
    with pytest.raises(ConfigError, match=r"acting\.sample"):
        make(BCMeanFlow, "discrete", predict="v", acting=Acting(sample=True))
    with pytest.raises(ConfigError, match=r"acting\.sample"):
        make(BCMeanFlow, "continuous", predict="x", acting=Acting(sample=True))
