"""MAC-Flow: losses against slow float64 references, what each loss trains, and how discrete actions get gradients."""

import pytest
import torch

from tests.algos import reference as ref
from tests.algos.cases import F64, SIZE, SPECS, close, make
from tests.support import random_batch
from vgm2p.algos.bc_flow import BCFlow
from vgm2p.algos.mac_flow import MACFlow
from vgm2p.algos.parts import CriticSettings
from vgm2p.errors import ConfigError
from vgm2p.rng import UpdateKey
from vgm2p.types import Acting, Seen

CASES = [(kind, source) for kind in SPECS for source in range(3)]
GAMMA, STEPS = 0.9, 3


def made(kind, **options):
    """An algorithm whose target differs from its critic, and whose student often leaves [-1, 1]."""
    options = {"teacher_steps": STEPS, "critic": CriticSettings(reward_scale=0.7), **options}
    algorithm = make(MACFlow, kind, gamma=GAMMA, **options)
    with torch.no_grad():
        for follower in algorithm.targets:
            follower.flat.add_(0.1 * torch.randn(follower.flat.shape, generator=torch.Generator().manual_seed(3)))
        for network in (algorithm.student, algorithm.teacher.mlp):
            network.output.weight.mul_(3.0)
    return algorithm


def drawn(key, purpose, shape):
    """The noise (B, N, A) of one purpose; a fresh key gives the same numbers again."""
    return key.normal(purpose, shape).to(F64)[0]


def hardened(vector, legal):
    """An action vector: clipped, or the one-hot of the best legal action."""
    if legal is None:
        return vector.clamp(-1.0, 1.0)
    best = max((j for j in range(len(vector)) if legal[j]), key=lambda j: vector[j].item())
    return ref.one_hot(best, len(vector), F64)


def student_row(algorithm, obs, i, z):
    return ref.plain_mlp(algorithm.student, torch.cat([ref.encode(algorithm, obs, i), z]))


def q_row(algorithm, critic, obs, i, a):
    """Mean of the two members."""
    x = torch.cat([ref.encode(algorithm, obs, i), a])
    return sum(ref.plain_mlp(critic.mlp, x, 0, e)[0] for e in range(2)) / 2


def legal_row(mask, b, i):
    return None if mask is None else mask[0, b, i]


@pytest.mark.parametrize("mixer", ["mean", "sum", "independent"])
@pytest.mark.parametrize(("kind", "source"), CASES)
def test_critic_loss(kind, source, mixer):
    algorithm, batch = made(kind, mixer=mixer), random_batch(SPECS[kind], source=source, dtype=F64)
    loss, _ = algorithm.critic_loss(batch, *algorithm.encode_pair(batch), UpdateKey([0]).at(source))
    z = drawn(UpdateKey([0]).at(source), "next_noise", (8, 3, algorithm.spec.action_dim))
    q, following = torch.zeros(2, 8, 3, dtype=F64), torch.zeros(8, 3, dtype=F64)
    for b, i in ref.rows(batch):
        x = torch.cat([ref.encode(algorithm, batch.obs[0, b, i], i), ref.vector(algorithm, batch.action[0, b, i])])
        for e in range(2):
            q[e, b, i] = ref.plain_mlp(algorithm.critic.mlp, x, 0, e)[0]
        a = hardened(student_row(algorithm, batch.next_obs[0, b, i], i, z[b, i]), legal_row(batch.next_legal, b, i))
        following[b, i] = q_row(algorithm, algorithm.target_critic, batch.next_obs[0, b, i], i, a)
    wanted = ref.td_reference(q, 0.7 * batch.reward[0], following, batch.bootstrap[0], batch.valid[0], GAMMA, mixer)
    close(loss, wanted)


def teacher_row(algorithm, obs, i, z):
    """Euler from k = 1 to k = 0."""
    x, oid = z, ref.encode(algorithm, obs, i)
    for step in range(STEPS):
        k = torch.tensor([1.0 - step / STEPS], dtype=F64)
        x = x - ref.plain_mlp(algorithm.teacher.mlp, torch.cat([x, k, oid])) / STEPS
    return x


def policy_reference(algorithm, batch, source):
    """L_bc, L_distill and L_q by loops."""
    key, shape = UpdateKey([0]).at(source), (8, 3, algorithm.spec.action_dim)
    z, eps = drawn(key, "student_noise", shape), drawn(key, "flow_noise", shape)
    times = key.uniform("time", (8, 3, 1)).to(F64)[0]
    bc, distill, values = 0.0, 0.0, []
    for b, i in ref.rows(batch):
        obs, legal = batch.obs[0, b, i], legal_row(batch.legal, b, i)
        a, k, oid = ref.vector(algorithm, batch.action[0, b, i]), times[b, i], ref.encode(algorithm, obs, i)
        v = ref.plain_mlp(algorithm.teacher.mlp, torch.cat([(1 - k) * a + k * eps[b, i], k, oid]))
        if (b, i) in ref.choices(batch):
            bc = bc + ((v - (eps[b, i] - a)) ** 2).mean() / len(ref.choices(batch))
        mu = student_row(algorithm, obs, i, z[b, i])
        taught = hardened(teacher_row(algorithm, obs, i, z[b, i]).detach(), legal)
        if legal is None:
            distill = distill + ((mu - taught) ** 2).mean() / 24
            values.append(q_row(algorithm, algorithm.critic, obs, i, hardened(mu, None)))
            continue
        p = torch.exp(mu) * legal / (torch.exp(mu) * legal).sum()
        distill = distill - torch.log(p[taught.argmax()]) / 24
        if algorithm.value_gradient == "expected":
            actions = [j for j in range(len(mu)) if legal[j]]
            rated = [q_row(algorithm, algorithm.critic, obs, i, ref.one_hot(j, len(mu), F64)) for j in actions]
            values.append(sum(p[j] * q.detach() for j, q in zip(actions, rated, strict=True)))
        else:
            values.append(q_row(algorithm, algorithm.critic, obs, i, hardened(mu, legal) + p - p.detach()))
    per_row = [sum(values[3 * b : 3 * b + 3]) / 3 for b in range(8)]
    q_loss = -sum(per_row) / 8
    if algorithm.normalise_q:
        q_loss = q_loss / (sum(abs(q.detach()) for q in per_row) / 8)
    return bc, distill, q_loss


OPTIONS = [
    ("continuous", {}),
    ("continuous", {"normalise_q": False, "alpha": 2.5}),
    ("discrete", {}),
    ("discrete", {"normalise_q": True}),
    ("discrete", {"value_gradient": "expected"}),
]


@pytest.mark.parametrize("source", range(3))
@pytest.mark.parametrize(("kind", "options"), OPTIONS, ids=str)
def test_policy_loss_and_its_gradient(kind, options, source):
    algorithm, batch = made(kind, **options), random_batch(SPECS[kind], source=source, dtype=F64)
    loss, info = algorithm.policy_loss(batch, algorithm.encode(batch.obs), UpdateKey([0]).at(source))
    parts = policy_reference(algorithm, batch, source)
    for name, part in zip(("bc_loss", "distill_loss", "q_loss"), parts, strict=True):
        close(info[name], part.detach())
    alpha = options.get("alpha", 1.0 if kind == "continuous" else 3.0)
    wanted = parts[0] + alpha * parts[1] + parts[2]
    close(loss, wanted.detach())
    if kind == "continuous":
        assert 0.0 < info["clipped"] < 1.0
    parameters = [*algorithm.teacher.parameters(), *algorithm.student.parameters()]
    found, expected = (torch.autograd.grad(x.sum(), parameters) for x in (loss, wanted))
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", SPECS)
def test_each_loss_trains_its_own_networks_only(kind):
    algorithm, batch = made(kind), random_batch(SPECS[kind], dtype=F64)
    o, next_o = algorithm.encode_pair(batch)

    def trained(loss):
        algorithm.zero_grad(set_to_none=True)
        loss.sum().backward()
        return {name.split(".")[0] for name, p in algorithm.named_parameters() if p.grad is not None}

    assert trained(algorithm.critic_loss(batch, o, next_o, UpdateKey([0]))[0]) == {"critic"}
    z = torch.randn(1, 8, 3, algorithm.spec.action_dim, dtype=F64)
    mu = algorithm.mu(o, z)
    taught = algorithm.taught(o, z, batch.legal)
    assert trained(algorithm.distill_loss(mu, taught, batch.legal)) == {"student"}
    assert trained(algorithm.q_loss(o, algorithm.mu(o, z), batch.legal)) == {"student"}
    assert trained(algorithm.policy_loss(batch, o, UpdateKey([0]))[0]) == {"student", "teacher"}


@pytest.mark.parametrize("kind", SPECS)
def test_the_teacher_learns_as_bc_flow_bit_for_bit(kind):
    """Neither the student nor the critic reaches it."""
    pair = MACFlow(SPECS[kind], [4], **SIZE), BCFlow(SPECS[kind], [4], **SIZE)
    for update in range(3):
        for algorithm in pair:
            algorithm.step(random_batch(SPECS[kind], source=update), UpdateKey([4]).at(update))
    for mine, theirs in zip(pair[0].teacher.parameters(), pair[1].policy.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_without_a_value_gradient_the_critic_does_not_reach_the_student():
    batch, key = random_batch(SPECS["discrete"], dtype=F64), UpdateKey([0])
    students = []
    for scale in (1.0, 50.0):
        algorithm = make(MACFlow, "discrete", value_gradient="none")
        with torch.no_grad():
            algorithm.critic.mlp.output.weight.mul_(scale)
        info = algorithm.step(batch, key.at(0))
        assert "q_loss" not in info
        students.append(torch.cat([p.detach().flatten() for p in algorithm.student.parameters()]))
    assert torch.equal(*students)


@pytest.mark.parametrize("value_gradient", ["straight_through", "expected"])
def test_illegal_actions_do_not_matter(value_gradient):
    """Action 3 is never legal: whatever student, teacher and critic say of it, two updates are the same."""
    batch = random_batch(SPECS["discrete"], rows=32, dtype=F64)
    batch.action = batch.action % 3
    for mask in (batch.legal, batch.next_legal):
        mask[..., 3] = False
        mask[..., 0] = True
    batch.legal.scatter_(-1, batch.action.unsqueeze(-1), True)
    infos = []
    for wild in (0.0, 1e3):
        algorithm = make(MACFlow, "discrete", value_gradient=value_gradient)
        with torch.no_grad():
            algorithm.student.output.bias[..., 3] += wild
            for critic in (algorithm.critic, algorithm.target_critic):
                critic.mlp.hidden[0].weight[..., -1] += wild  # the column of action 3
        infos.append([algorithm.step(batch, UpdateKey([0]).at(update)) for update in range(2)])
        action, _ = algorithm.act(Seen(batch.obs, batch.legal), None, UpdateKey([0]))
        assert (action != 3).all()
    for calm, wild in zip(*infos, strict=True):
        for name in calm:
            torch.testing.assert_close(calm[name], wild[name], rtol=1e-12, atol=1e-12)


def test_acting_scales_and_shares_the_noise_of_one_pass():
    algorithm, obs = made("continuous"), random_batch(SPECS["continuous"], dtype=F64).obs
    o = algorithm.encode(obs)

    def act(**how):
        return algorithm.act(Seen(obs), None, UpdateKey([0]).at(0), Acting(**how))[0]

    z = UpdateKey([0]).at(0).normal("act", (8, 3, 2)).to(F64)
    assert torch.equal(act(), algorithm.mu(o, z).clamp(-1, 1))
    assert torch.equal(act(noise=0.5), algorithm.mu(o, 0.5 * z).clamp(-1, 1))
    assert torch.equal(act(noise=0.0), algorithm.mu(o, torch.zeros_like(z)).clamp(-1, 1))
    shared = UpdateKey([0]).at(0).normal("act", (8, 1, 2)).to(F64).expand(1, 8, 3, 2)
    assert torch.equal(act(shared=True), algorithm.mu(o, shared).clamp(-1, 1))


def test_a_value_of_zero_leaves_a_finite_loss():
    algorithm, batch = make(MACFlow, "continuous"), random_batch(SPECS["continuous"], dtype=F64)
    with torch.no_grad():
        for p in algorithm.critic.mlp.output.parameters():
            p.zero_()
    _, info = algorithm.policy_loss(batch, algorithm.encode(batch.obs), UpdateKey([0]))
    close(info["q_loss"], 0.0)


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(ConfigError, match=r"algo\.value_gradient=expected is for discrete actions"):
        make(MACFlow, "continuous", value_gradient="expected")
    with pytest.raises(ConfigError, match=r"algo\.acting\.steps=2.*teacher_steps"):
        make(MACFlow, "continuous", acting=Acting(steps=2))
