"""Every loss against a slow float64 reference with loops (tolerance 1e-10), on three random cases each."""

import pytest
import torch

from tests.algos import reference as ref
from tests.algos.cases import F64, SPECS, close, make, table
from tests.support import random_batch
from vgm2p.algos.bc_flow import BCFlow
from vgm2p.algos.bc_gaussian import BCGaussian
from vgm2p.algos.bc_meanflow import BCMeanFlow
from vgm2p.algos.bc_mse import BCSquaredError
from vgm2p.algos.parts import expectile_loss
from vgm2p.algos.vgm2p import VGM2P
from vgm2p.algos.vgm2p_fm import VGM2PFlowMatching
from vgm2p.algos.vgm2p_switches import VGM2PSwitches
from vgm2p.rng import UpdateKey

CASES = [(kind, source) for kind in SPECS for source in range(3)]


def noise_of(key, action, discrete, count):
    width = (*action.shape[1:], count) if discrete else action.shape[1:]
    return key.normal("flow_noise", tuple(width)).to(F64)


@pytest.mark.parametrize(("kind", "source"), CASES)
def test_bc_gaussian(kind, source):
    algorithm, batch = make(BCGaussian, kind), random_batch(SPECS[kind], source=source, dtype=F64)
    total = 0.0
    for b, i in ref.choices(batch):
        head = ref.plain_mlp(algorithm.policy, ref.encode(algorithm, batch.obs[0, b, i], i))
        if kind == "continuous":
            total += ref.gaussian_nll(batch.action[0, b, i], head)
        else:
            allowed = head[batch.legal[0, b, i]].exp().sum()
            total += -(head[batch.action[0, b, i]] - allowed.log())
    close(algorithm.policy_loss(batch), total / len(ref.choices(batch)))


@pytest.mark.parametrize("output", ["linear", "tanh"])
@pytest.mark.parametrize("source", range(3))
def test_bc_mse(source, output):
    algorithm = make(BCSquaredError, "continuous", output=output)
    batch, total = random_batch(SPECS["continuous"], source=source, dtype=F64), 0.0
    for b, i in ref.rows(batch):
        mean = ref.plain_mlp(algorithm.policy, ref.encode(algorithm, batch.obs[0, b, i], i))
        total += (((mean.tanh() if output == "tanh" else mean) - batch.action[0, b, i]) ** 2).mean()
    close(algorithm.policy_loss(batch), total / len(ref.rows(batch)))


@pytest.mark.parametrize(("kind", "source"), CASES)
def test_bc_flow(kind, source):
    algorithm, batch = make(BCFlow, kind), random_batch(SPECS[kind], source=source, dtype=F64)
    key = UpdateKey([0]).at(source)
    loss = algorithm.policy_loss(algorithm.encode(batch.obs), algorithm.represent(batch.action), key)
    key.at(source)
    eps = noise_of(key, batch.action, kind == "discrete", SPECS[kind].action_dim)
    k = key.uniform("time", (*batch.obs.shape[1:3], 1)).to(F64)
    total = 0.0
    for b, i in ref.rows(batch):
        a, oid = ref.vector(algorithm, batch.action[0, b, i]), ref.encode(algorithm, batch.obs[0, b, i], i)
        x = (1 - k[0, b, i]) * a + k[0, b, i] * eps[0, b, i]
        v = ref.plain_mlp(algorithm.policy.mlp, torch.cat([x, k[0, b, i], oid]))
        total += ((v - (eps[0, b, i] - a)) ** 2).mean()
    close(loss, total / len(ref.rows(batch)))


def sorted_times(key, batch):
    drawn = key.uniform("times", (*batch.obs.shape[1:3], 2)).to(F64)
    return drawn.max(-1, keepdim=True).values, drawn.min(-1, keepdim=True).values


@pytest.mark.parametrize(("kind", "source"), CASES)
def test_bc_meanflow(kind, source):
    algorithm, batch = make(BCMeanFlow, kind), random_batch(SPECS[kind], source=source, dtype=F64)
    key = UpdateKey([0]).at(source)
    loss, _ = algorithm.policy_loss(algorithm.encode(batch.obs), algorithm.represent(batch.action), key)
    key.at(source)
    eps = noise_of(key, batch.action, kind == "discrete", SPECS[kind].action_dim)
    k, r = sorted_times(key, batch)
    total = 0.0
    for b, i in ref.rows(batch):
        a, oid = ref.vector(algorithm, batch.action[0, b, i]), ref.encode(algorithm, batch.obs[0, b, i], i)
        e = eps[0, b, i]
        total += ref.meanflow_row(algorithm, a, e, k[0, b, i], r[0, b, i], oid, None, e - a)
    close(loss, total / len(ref.rows(batch)))


SWITCHES = [{"guide_class0": False}, {"uncond": "zero"}, {"uncond": "null", "label_dropout": 0.5}]
GUIDES = [(cls, options) for cls in (VGM2P, VGM2PFlowMatching, VGM2PSwitches) for options in ({}, {"omega": 1.0})]
GUIDES += [(VGM2PSwitches, options) for options in SWITCHES]


@pytest.mark.parametrize(("cls", "options"), GUIDES, ids=str)
@pytest.mark.parametrize(("kind", "source"), CASES)
def test_policy_loss(cls, kind, source, options):
    algorithm, batch = make(cls, kind, **options), random_batch(SPECS[kind], source=source, dtype=F64)
    key = UpdateKey([0]).at(source)
    c = torch.randint(2, batch.obs.shape[:3], generator=torch.Generator().manual_seed(source))
    loss, _ = algorithm.policy_loss(algorithm.encode(batch.obs), algorithm.represent(batch.action), c, key)
    key.at(source)
    eps = noise_of(key, batch.action, kind == "discrete", SPECS[kind].action_dim)
    k, r = sorted_times(key, batch)
    if cls is VGM2PFlowMatching:  # one uniform time, as BC(FM)
        k = r = key.uniform("time", (*batch.obs.shape[1:3], 1)).to(F64)
    dropped = key.uniform("label_dropout", tuple(c.shape[1:])) < options.get("label_dropout", 0.0)
    uncond = {"one": 1, "zero": 0, "null": 2}[options.get("uncond", "one")]
    total = 0.0
    for b, i in ref.rows(batch):
        label = 2 if uncond == 2 and dropped[0, b, i] else int(c[0, b, i])
        total += policy_row(algorithm, batch, b, i, eps, k, r, label, uncond)
    close(loss, total / len(ref.rows(batch)))


@pytest.mark.parametrize("weight", [0.0, 0.1, 1.0])
def test_class_0_of_vgm2p_chosen_weighs_less_in_the_policy_loss(weight):
    algorithm = make(VGM2PSwitches, "continuous", omega=3.0, class0_weight=weight)
    batch, key = random_batch(SPECS["continuous"], dtype=F64), UpdateKey([0]).at(1)
    oid, action = algorithm.encode(batch.obs), algorithm.represent(batch.action)
    c = torch.randint(2, batch.obs.shape[:3], generator=torch.Generator().manual_seed(1))
    eps, (k, r) = noise_of(key, batch.action, False, SPECS["continuous"].action_dim), sorted_times(key, batch)
    total = sum(
        (1.0 if c[0, b, i] else weight) * policy_row(algorithm, batch, b, i, eps, k, r, int(c[0, b, i]), 1)
        for b, i in ref.rows(batch)
    )
    close(algorithm.policy_loss(oid, action, c, key.at(1))[0], total / (c.sum().item() + weight * (1 - c).sum().item()))
    nothing, _ = algorithm.policy_loss(oid, action, torch.zeros_like(c), key.at(1))
    assert nothing == 0.0 if weight == 0.0 else nothing > 0.0


def policy_row(algorithm, batch, b, i, eps, k, r, label, uncond):
    a, oid = ref.vector(algorithm, batch.action[0, b, i]), ref.encode(algorithm, batch.obs[0, b, i], i)
    e, kk, rr = eps[0, b, i], k[0, b, i], r[0, b, i]
    x = (1 - kk) * a + kk * e
    labels = [ref.one_hot(j, algorithm.classes, F64) for j in (label, uncond)]
    meanflow = not isinstance(algorithm, VGM2PFlowMatching)
    times = [kk, kk] if meanflow else [kk]
    marginal = ref.plain_mlp(algorithm.policy.mlp, torch.cat([x, *times, oid, labels[1]])).detach()
    guided = label == 1 or (label == 0 and getattr(algorithm, "guide_class0", True))
    omega = algorithm.omega if guided else 1.0
    v = omega * (e - a) + (1 - omega) * marginal
    if meanflow:
        return ref.meanflow_row(algorithm, a, e, kk, rr, oid, labels[0], v)
    return ((ref.plain_mlp(algorithm.policy.mlp, torch.cat([x, kk, oid, labels[0]])) - v) ** 2).mean()


@pytest.mark.parametrize("mixer", ["mean", "sum", "literal", "independent"])
@pytest.mark.parametrize(("kind", "source"), CASES)
def test_critic_loss(kind, source, mixer):
    algorithm, batch = make(VGM2P, kind, mixer=mixer, gamma=0.9), random_batch(SPECS[kind], source=source, dtype=F64)
    with torch.no_grad():
        for p in algorithm.target_critic.parameters():
            p.add_(0.1)  # so that target and online critic differ
    oid, next_oid = algorithm.encode(batch.obs), algorithm.encode(batch.next_obs)
    action, key = algorithm.represent(batch.action), UpdateKey([0]).at(source)
    next_action, _ = algorithm.imagine(batch, oid, next_oid, key)
    loss, _, _ = algorithm.critic_loss(batch, oid, action, next_oid, next_action)
    q = table(algorithm, algorithm.critic, batch.obs, action)
    following = table(algorithm, algorithm.target_critic, batch.next_obs, next_action).mean(0)
    wanted = ref.td_reference(q, batch.reward[0], following, batch.bootstrap[0], batch.valid[0], 0.9, mixer)
    close(loss, wanted)


@pytest.mark.parametrize("kind", SPECS)
def test_imagined_actions_are_one_step_samples_of_class_one(kind):
    algorithm, batch = make(VGM2P, kind, baseline_samples=2), random_batch(SPECS[kind], dtype=F64)
    key = UpdateKey([0])
    next_action, baselines = algorithm.imagine(
        batch, algorithm.encode(batch.obs), algorithm.encode(batch.next_obs), key
    )
    z = key.at(0).normal("imagine", (*next_action.shape[1:2], 3, *next_action.shape[2:])).to(F64)
    sources = [(batch.next_obs, batch.next_legal, next_action)]
    sources += [(batch.obs, batch.legal, baselines[:, :, j]) for j in range(2)]
    for j, (obs, legal, seen) in enumerate(sources):
        for b, i in ref.rows(batch):
            noise, oid = z[0, b, j, i], ref.encode(algorithm, obs[0, b, i], i)
            times = torch.tensor([0.0, 1.0], dtype=F64)
            u = ref.plain_mlp(algorithm.policy.mlp, torch.cat([noise, times, oid, ref.one_hot(1, 2, F64)]))
            wanted = (noise - u).clamp(-1, 1)
            if kind == "discrete":
                scores = (noise - u).masked_fill(~legal[0, b, i], -torch.inf)
                wanted = ref.one_hot(scores.argmax(), len(scores), F64)
            torch.testing.assert_close(seen[0, b, i], wanted, rtol=0, atol=1e-10)


def test_expectile_loss_is_asymmetric_square():
    error = torch.tensor([[-2.0, 1.0]], dtype=F64)
    close(expectile_loss(error, 0.7), (0.3 * 4.0 + 0.7 * 1.0) / 2)


def test_expectile_target_replaces_the_policy_target():
    algorithm = make(VGM2PSwitches, "continuous", td_target="expectile", gamma=0.9)
    batch = random_batch(SPECS["continuous"], dtype=F64)
    oid, next_oid = algorithm.encode(batch.obs), algorithm.encode(batch.next_obs)
    loss, _, _ = algorithm.critic_loss(batch, oid, batch.action, next_oid, torch.full_like(batch.action, torch.nan))
    q, following = table(algorithm, algorithm.critic, batch.obs, batch.action), algorithm.value(next_oid)[0]
    close(loss, ref.td_reference(q, batch.reward[0], following, batch.bootstrap[0], batch.valid[0], 0.9, "mean"))


def test_the_derivative_is_in_half_precision_only_if_asked():
    algorithm, batch = make(VGM2PSwitches, "continuous").float(), random_batch(SPECS["continuous"])
    oid = algorithm.encode(batch.obs)
    c = torch.ones(batch.action.shape[:-1], dtype=torch.int64)
    losses = []
    for half in (False, True):
        algorithm.bf16_derivative = half
        algorithm.omega = 1.0  # no guidance, so that the derivative's block is all there is
        with torch.autocast("cpu", torch.bfloat16):
            losses.append(algorithm.policy_loss(oid, batch.action, c, UpdateKey([0]))[0])
    algorithm.bf16_derivative = False
    exact = algorithm.policy_loss(oid, batch.action, c, UpdateKey([0]))[0]
    assert torch.equal(losses[0], exact)
    assert not torch.equal(losses[1], exact)
    torch.testing.assert_close(losses[1], exact, rtol=0.05, atol=0.0)


def test_a_step_on_a_float32_loss_is_the_same_inside_autocast():
    batch, weights = random_batch(SPECS["continuous"]), []
    for half in (False, True):
        algorithm = make(VGM2P, "continuous").float()
        algorithm.omega = 1.0
        oid = algorithm.encode(batch.obs)
        c = torch.ones(batch.action.shape[:-1], dtype=torch.int64)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            algorithm.minimise("policy", algorithm.policy_loss(oid, batch.action, c, UpdateKey([0]))[0])
        weights.append(algorithm.optimisers["policy"].flat.clone())
    assert torch.equal(*weights)
