"""Oracles of MAC-Flow: what a perfect student copies, the gradients by which Q reaches it, and trained students."""

from __future__ import annotations

import functools

import torch

from tests.oracles.exact import gaussian_v
from tests.oracles.one_state import above, batch_of, below, near, observe, spec
from tests.oracles.table import Oracle
from tests.oracles.weighted import Q, bandit_batches, two_agents
from tests.support import continuous_spec, random_batch
from vgm2p.algos.bc_flow import BCFlow
from vgm2p.algos.mac_flow import MACFlow
from vgm2p.algos.parts import CriticSettings
from vgm2p.groups import Net, Optim
from vgm2p.rng import UpdateKey
from vgm2p.types import Acting, Seen

F64 = torch.float64
MEAN, SD = 0.3, 0.2  # the data of rows a and b


def gaussian_field(x, k, o, c, legal=None):
    """The exact velocity of N(MEAN, SD^2)."""
    return gaussian_v(x, k, MEAN, SD)


def bandit(discrete=False, actions=1, **options):
    return MACFlow(spec(actions=actions, discrete=discrete), [0], net=Net(8, 1), **options).double()


def moments(end):
    """Mean and standard deviation of a linear map of N(0, 1), from its values at -1 and 1."""
    low, high = end.flatten().tolist()
    return (low + high) / 2, (high - low) / 2


def taught_sd(steps):
    """Standard deviation of the teacher's actions, where the teacher is the exact field."""
    algorithm = bandit(teacher_steps=steps)
    algorithm.teacher.forward = gaussian_field
    z = torch.tensor([-1.0, 1.0], dtype=F64).reshape(1, 2, 1, 1)
    mean, sd = moments(algorithm.taught(algorithm.encode(observe(2).double()), z, None))
    assert abs(mean - MEAN) < 1e-12
    return sd


@functools.cache
@torch.enable_grad()
def distilled():
    """Mean and standard deviation of a linear student that learned from the exact field in 10 steps, without L_q."""
    options = {"net": Net(8, 0), "optim": Optim(2e-2, decay_updates=400), "value_gradient": "none"}
    algorithm = MACFlow(spec(actions=1), [0], **options).double()
    algorithm.teacher.forward = gaussian_field  # its training, by `output`, does not change it
    batch, key = batch_of(torch.zeros(64, 1, 1, dtype=F64)).to(F64), UpdateKey([0])
    for update in range(400):
        algorithm.step(batch, key.at(update))
    z = torch.tensor([-1.0, 1.0], dtype=F64).reshape(1, 2, 1, 1)
    return moments(algorithm.mu(algorithm.encode(observe(2).double()), z).detach())


def logit_gradient(entry, value_gradient):
    """dL_q/dlogits at equal logits, for Q(a) = W a: one entry."""
    algorithm = bandit(True, 3, value_gradient=value_gradient)
    weight = torch.tensor([1.0, 2.0, 6.0] if value_gradient == "expected" else [0.3, -0.2, 0.5], dtype=F64)
    algorithm.critic.forward = lambda o, action: (action @ weight).unsqueeze(1)
    logits = torch.zeros(1, 1, 1, 3, dtype=F64, requires_grad=True)
    (found,) = torch.autograd.grad(algorithm.q_loss(torch.zeros(1, 1, 1, 1, dtype=F64), logits, None).sum(), logits)
    return found.flatten()[entry]


def hard_argmax():
    """1 if the one-hot of the argmax, without the straight-through term, has a gradient."""
    logits = torch.zeros(1, 1, 1, 3, dtype=F64, requires_grad=True)
    return float(bandit(True, 3).to_action(logits, None).requires_grad)


def scaled_critic():
    """Q -> 5 Q with `normalise_q`: the largest change of the student's gradient, relative."""
    task, found = continuous_spec(), []
    batch = random_batch(task, dtype=F64)
    for scale in (1.0, 5.0):
        algorithm = MACFlow(task, [0], net=Net(8, 2)).double()
        with torch.no_grad():
            algorithm.critic.mlp.output.weight.mul_(scale)
            algorithm.critic.mlp.output.bias.mul_(scale)
        loss, _ = algorithm.policy_loss(batch, algorithm.encode(batch.obs), UpdateKey([0]))
        found.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss.sum(), algorithm.student.parameters())]))
    return (found[0] - found[1]).abs().max() / found[0].abs().max()


@torch.no_grad()
def one_step_student():
    """One Euler step, linear networks, the student that L_distill has as its minimum: it acts like BC(FM)."""
    task, small = continuous_spec(), Net(8, 0)
    algorithm = MACFlow(task, [0], net=small, teacher_steps=1, value_gradient="none").double()
    cloner = BCFlow(task, [0], net=small, acting=Acting(steps=1)).double()
    A = task.action_dim
    teacher, student = algorithm.teacher.mlp.output, algorithm.student.output
    student.weight[..., : algorithm.id_dim] = -teacher.weight[..., A + 1 :]
    student.weight[..., algorithm.id_dim :] = torch.eye(A, dtype=F64) - teacher.weight[..., :A]
    student.bias.copy_(-teacher.bias - teacher.weight[..., A])
    cloner.policy.load_state_dict(algorithm.teacher.state_dict())
    seen = Seen(random_batch(task, dtype=F64).obs)
    mine, theirs = (each.act(seen, None, UpdateKey([0]).at(0))[0] for each in (algorithm, cloner))
    return (mine - theirs).abs().max()


@functools.cache
@torch.enable_grad()
def guided(steps=600, **options):
    """E[q] of the student's actions in the bandit of `weighted`, whose data have E[q] = 2.1."""
    critic, optim = CriticSettings(members=1, tau=0.1), Optim(3e-3, decay_updates=steps)
    algorithm = MACFlow(spec(actions=4, discrete=True), [0], net=Net(32, 2), optim=optim, critic=critic, **options)
    key = UpdateKey([0])
    for update, batch in enumerate(bandit_batches(steps)):
        algorithm.step(batch, key.at(update))
    legal = torch.ones(1, 2000, 1, 4, dtype=torch.bool)
    acted, _ = algorithm.act(Seen(observe(2000), legal), None, UpdateKey([9]).at(0))
    return Q[acted].mean()


MAC_FLOW = [
    *(
        Oracle(
            f"MF-a{steps}",
            f"N(.3, .2^2): sd of the teacher's actions, {steps} steps",
            lambda steps=steps: taught_sd(steps),
            f"{known:g}",
            near(known, 1e-5),
        )
        for steps, known in ((1, 0.0), (2, 0.03846), (5, 0.11388), (10, 0.15418), (20, 0.17600), (100, 0.19498))
    ),
    Oracle("MF-b1", "without L_q: mean of a trained student", lambda: distilled()[0], ".3 +- .002", near(0.3, 2e-3)),
    Oracle("MF-b2", "its sd", lambda: distilled()[1], ".15418 +- .002", near(0.15418, 2e-3)),
    *(
        Oracle(
            f"MF-c{'12'[kind == 'straight_through']}{entry}",
            f"{kind}: dL_q / dlogit {entry}",
            lambda entry=entry, kind=kind: logit_gradient(entry, kind),
            f"{known:g}",
            near(known, 1e-5),
        )
        for kind, values in (("expected", (0.66667, 0.33333, -1.0)), ("straight_through", (-0.03333, 0.13333, -0.1)))
        for entry, known in enumerate(values)
    ),
    Oracle("MF-c3", "argmax without straight-through has a gradient", hard_argmax, "= 0", lambda v: v == 0),
    Oracle("MF-d", "5 Q, normalise_q: change of the gradient", scaled_critic, "< 1e-12", lambda v: v < 1e-12),
    Oracle("MF-e", "perfect student, one step: BC(FM)'s actions", one_step_student, "< 1e-14", lambda v: v < 1e-14),
]

MAC_FLOW_TRAINED = [
    Oracle("MF-f1", "two agents, return", lambda: two_agents(MACFlow), "> -.1", above(-0.1)),
    Oracle(
        "MF-f2", "independent mixer, return", lambda: two_agents(MACFlow, mixer="independent"), "< -.5", below(-0.5)
    ),
    Oracle("MF-f3", "without L_q, return", lambda: two_agents(MACFlow, value_gradient="none"), "< -1.3", below(-1.3)),
    Oracle("MF-g1", "bandit, without L_q: E[q]", lambda: guided(value_gradient="none"), "2.1 +- .3", near(2.1, 0.3)),
    Oracle("MF-g2", "bandit, straight_through, alpha 1: E[q]", lambda: guided(alpha=1.0), "> 4", above(4.0)),
    Oracle("MF-g3", "bandit, expected: E[q]", lambda: guided(value_gradient="expected"), "> 4", above(4.0)),
]
