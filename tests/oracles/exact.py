"""Exact oracles (closed forms, identities, limits) in float64, for the program's own functions."""

from __future__ import annotations

import torch

from tests.oracles.table import Oracle
from tests.support import continuous_spec, discrete_spec, random_batch
from vgm2p.algos.bc_meanflow import BCMeanFlow
from vgm2p.algos.encoding import masked
from vgm2p.algos.parts import MIXERS, td_loss
from vgm2p.algos.vgm2p import VGM2P
from vgm2p.flows.meanflow import identity_target, meanflow_loss, meanflow_sample
from vgm2p.flows.path import Times, point, velocity
from vgm2p.groups import Net
from vgm2p.nn.fast.kernels import one_hot
from vgm2p.nn.mlp import MLP
from vgm2p.rng import UpdateKey
from vgm2p.seeds import initialise

F64 = torch.float64
SMALL = {"net": Net(16, 2)}


def gaussian_u(x, r, k, m=0.3, s=0.5):
    """Average velocity of data N(m, s^2) (X1): -m + (1 - sd_r / sd_k) (x - (1 - k) m) / (k - r)."""
    sd = [((1 - t) ** 2 * s**2 + t**2).sqrt() for t in (r, k)]
    return -m + (1 - sd[0] / sd[1]) * (x - (1 - k) * m) / (k - r)


def gaussian_v(x, k, m=0.3, s=0.5):
    variance = (1 - k) ** 2 * s**2 + k**2
    return -m + (k - (1 - k) * s**2) / variance * (x - (1 - k) * m)


def rows(count=64, low=0.05, high=0.95):
    g = torch.Generator().manual_seed(3)
    draw = torch.rand(2, 1, count, 1, 1, generator=g, dtype=F64) * (high - low) + low
    k, r = torch.maximum(*draw), torch.minimum(*draw)
    return torch.randn(1, count, 1, 1, generator=g, dtype=F64), r, k


def x1_identity():
    x, r, k = rows()
    v = gaussian_v(x, k)
    u, dudk = torch.func.jvp(gaussian_u, (x, r, k), (v, torch.zeros_like(r), torch.ones_like(k)))
    return (u - identity_target(v, k, r, dudk)).abs().max()


def x2_one_step():
    z = torch.randn(1, 64, 1, 1, dtype=F64)
    sample = meanflow_sample(lambda x, r, k, oid, c, legal: gaussian_u(x, r, k), z, z, None)
    return (sample - (0.3 + 0.5 * z)).abs().max()


def make(cls=VGM2P, spec=None, seeds=(0,), dtype=F64, **options):
    return cls(spec or continuous_spec(), list(seeds), **SMALL, **options).to(dtype)


def along_inputs(algorithm, batch, key):
    oid, action = algorithm.encode(batch.obs), algorithm.represent(batch.action)
    k, r = algorithm.times.pair(key, action)
    eps = key.normal("flow_noise", tuple(action.shape[1:])).to(action.dtype)
    return oid, action, k, r, eps


def tangent_against(dtype, step):
    """du/dk pushed beside the primal pass against a central difference, relative."""
    algorithm = make(dtype=dtype)
    batch = random_batch(algorithm.spec, dtype=dtype)
    oid, action, k, r, eps = along_inputs(algorithm, batch, UpdateKey([0]))
    x, v = point(action, eps, k), velocity(action, eps)
    c = one_hot(torch.ones(x.shape[:-1], dtype=torch.long), algorithm.classes, oid.dtype)
    _, dudk, _ = algorithm.policy.along(x, r, k, oid, c, dx=v)
    ahead, behind = (algorithm.policy(x + d * v, r, k + d, oid, c) for d in (step, -step))
    difference = (ahead - behind) / (2 * step)
    return (dudk - difference).norm() / difference.norm()


def tangent_against_func():
    """The same derivative against torch.func.jvp, and its parameter gradient against plain autograd."""
    body = MLP((2,), 7, 3, Net(16, 3))
    initialise([body], [0, 1], "body")
    body = body.to(F64)
    x, dx = (torch.randn(2, 5, 4, 7, dtype=F64) for _ in range(2))
    y, dy = body.value_and_tangent(x, dx)
    y_ref, dy_ref = torch.func.jvp(body.plain, (x,), (dx,))
    weight = torch.randn_like(y)
    mine = torch.autograd.grad((y * weight).sum(), list(body.parameters()))
    theirs = torch.autograd.grad((body(x) * weight).sum(), list(body.parameters()))
    gradients = max(float((a - b).abs().max()) for a, b in zip(mine, theirs, strict=True))
    return max(float((y - y_ref).detach().abs().max()), float((dy - dy_ref).detach().abs().max()), gradients)


def x4_reduces_to_cloning():
    """c = 1 everywhere and omega = 1: VGM2P's loss is BC(MF)'s with the same weights, times and noise."""
    vgm2p = make(omega=1.0)
    bc = make(BCMeanFlow)
    with torch.no_grad():
        classes = vgm2p.classes
        first = vgm2p.policy.mlp.hidden[0]
        bias = first.bias + first.weight[..., -classes + 1]  # the column of class 1 acts as a bias
        for mine, theirs in zip(bc.policy.mlp.hidden, vgm2p.policy.mlp.hidden, strict=True):
            mine.weight.copy_(theirs.weight[..., : mine.weight.shape[-1]])
            mine.bias.copy_(theirs.bias)
        bc.policy.mlp.hidden[0].bias.copy_(bias)
        bc.policy.mlp.output.weight.copy_(vgm2p.policy.mlp.output.weight)
        bc.policy.mlp.output.bias.copy_(vgm2p.policy.mlp.output.bias)
    batch, key = random_batch(vgm2p.spec, dtype=F64), UpdateKey([0])
    oid = vgm2p.encode(batch.obs)
    ones = torch.ones(batch.action.shape[:-1], dtype=torch.long)
    mine, _ = vgm2p.policy_loss(oid, batch.action, ones, key)
    theirs, _ = bc.policy_loss(oid, batch.action, key.at(0))
    return (mine - theirs).abs().max()


def gradient(algorithm, batch, c, key):
    loss, _ = algorithm.policy_loss(algorithm.encode(batch.obs), batch.action, c, key.at(0))
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss.sum(), list(algorithm.policy.parameters()))])


def guided_gradient(label, omega):
    """Relative distance of grad(omega) from omega * grad(1) at r = k (X5, X6)."""
    algorithm = make(times=Times(equal_fraction=1.0))
    batch, key = random_batch(algorithm.spec, dtype=F64), UpdateKey([0])
    c = torch.full(batch.action.shape[:-1], label)
    algorithm.omega = 1.0
    plain = gradient(algorithm, batch, c, key)
    algorithm.omega = omega
    return (gradient(algorithm, batch, c, key) - omega * plain).norm() / (omega * plain).norm()


def target_gradient(detach):
    """Relative distance of the loss gradient from that of the regression on a frozen target (X7, X8)."""
    algorithm = make(BCMeanFlow)
    batch = random_batch(algorithm.spec, dtype=F64)
    oid, action, k, r, eps = along_inputs(algorithm, batch, UpdateKey([0]))
    x, v = point(action, eps, k), velocity(action, eps)

    def u_of(x, r, k):
        return algorithm.policy(x, r, k, oid, None)

    wide = [t.expand_as(k).contiguous() for t in (r, k)]
    u, dudk = torch.func.jvp(u_of, (x, *wide), (v, torch.zeros_like(r), torch.ones_like(k)))
    target = v - (k - r) * dudk
    frozen = torch.autograd.grad(
        (u - target.detach()).square().mean(), list(algorithm.policy.parameters()), retain_graph=True
    )
    if detach:
        loss = meanflow_loss(algorithm.policy, x, v, k, r, oid, None)[0].mean()
    else:
        loss = (u - target).square().mean()
    seen = torch.autograd.grad(loss, list(algorithm.policy.parameters()))
    a, b = (torch.cat([g.flatten() for g in grads]) for grads in (seen, frozen))
    return (a - b).norm() / b.norm()


def x9_condition_invariant():
    """Q -> Q + 7.3 and Q -> 5 Q leave c unchanged: counts changed labels."""
    algorithm = make()
    batch = random_batch(algorithm.spec, rows=64, dtype=F64)
    oid = algorithm.encode(batch.obs)
    _, baselines = algorithm.imagine(batch, oid, oid, UpdateKey([0]))
    judge, changed = algorithm.critic.forward, 0

    def labels():
        return algorithm.condition(batch, oid, batch.action, baselines, algorithm.critic(oid, batch.action))[0]

    before = labels()
    for scale, shift in ((1.0, 7.3), (5.0, 0.0)):
        algorithm.critic.forward = lambda o, a, scale=scale, shift=shift: scale * judge(o, a) + shift
        changed += int((labels() != before).sum())
    return torch.tensor(float(changed))


def x10_literal_mixer():
    """The literal mixer's loss is N^2 times the mean mixer's (N = 4), relative error."""
    q, reward = torch.randn(1, 2, 6, 4, dtype=F64), torch.randn(1, 6, dtype=F64)
    following, valid = torch.randn(1, 6, 4, dtype=F64), torch.ones(1, 6, dtype=F64)
    literal, mean = (td_loss(q, reward, following, valid, mixer) for mixer in ("literal", "mean"))
    return ((literal - 16 * mean) / (16 * mean)).abs().max()


def x11_broadcast_times():
    """Expanded (stride 0) times give what contiguous ones give."""
    algorithm = make(BCMeanFlow)
    batch = random_batch(algorithm.spec, dtype=F64)
    oid, action, *_ = along_inputs(algorithm, batch, UpdateKey([0]))
    shape = (*action.shape[:-1], 1)
    k, r = (torch.full((1,), value, dtype=F64).expand(shape) for value in (0.7, 0.2))
    losses = [
        meanflow_loss(algorithm.policy, action, action, *pair, oid, None)[0].sum()
        for pair in ((k, r), (k.contiguous(), r.contiguous()))
    ]
    return (losses[0] - losses[1]).abs()


def x12_float32_delta():
    t = torch.linspace(1e-3, 1.0, 1000)
    return (t - 1e-12 == t).double().mean()


CHAIN = {"gamma": 0.9, "states": 3, "agents": 2}


def tabular_td(mixer, mask=True, iterations=4000):
    """10.8: largest error of mixed tabular values on a 3-state chain, iterating Eq. 13's fixed point by regression."""
    g = torch.Generator().manual_seed(1)
    S, N, gamma = CHAIN["states"], CHAIN["agents"], CHAIN["gamma"]
    reward = torch.randn(S, N, 2, generator=g, dtype=F64)  # additive: r(s, a) = sum_i reward[s, i, a_i]
    joint = torch.cartesian_prod(*[torch.arange(2)] * N)
    state = torch.arange(S).repeat_interleave(len(joint))
    action = joint.repeat(S, 1)
    r = torch.stack([reward[state, i, action[:, i]] for i in range(N)]).sum(0)
    bootstrap = (state < S - 1).to(F64) if mask else torch.ones(len(state), dtype=F64)
    following = torch.where(state < S - 1, state + 1, torch.zeros_like(state))
    true = torch.zeros(S + 1, dtype=F64)
    for s in reversed(range(S)):  # uniform policy
        true[s] = r[state == s].mean() + gamma * (true[s + 1] if s < S - 1 else 0.0)
    truth = r + gamma * torch.where(state < S - 1, true[torch.clamp(state + 1, max=S)], torch.zeros(1, dtype=F64))
    table = torch.zeros(S, N, 2, dtype=F64, requires_grad=True)
    for _ in range(iterations):
        q = torch.stack([table[state, i, action[:, i]] for i in range(N)], -1)
        with torch.no_grad():
            discounted = gamma * bootstrap[:, None] * table.mean(-1)[following]
        residual = MIXERS[mixer](q[None, None], r[None, None], discounted[None, None])
        (grad,) = torch.autograd.grad(residual.square().sum(), table)
        with torch.no_grad():
            table -= grad * (0.1 if mixer == "mean" else 0.03)
    q = torch.stack([table[state, i, action[:, i]] for i in range(N)], -1).detach()
    value = q.sum(-1) if mixer == "sum" else q.mean(-1)
    return (value - truth).abs().max()


def illegal_actions():
    """Masked argmax never picks an illegal action: counts illegal actions of 4000 draws (10.5)."""
    algorithm = make(spec=discrete_spec(), dtype=torch.float32)
    batch = random_batch(algorithm.spec, rows=256)
    key = UpdateKey([0])
    illegal = 0
    for update in range(4):
        next_action, baselines = algorithm.imagine(
            batch, algorithm.encode(batch.obs), algorithm.encode(batch.next_obs), key.at(update)
        )
        chosen = ((next_action, batch.next_legal), (baselines[:, :, 0], batch.legal))
        illegal += sum(int((one_hot.bool() & ~legal).sum()) for one_hot, legal in chosen)
    assert torch.isneginf(masked(torch.zeros(2), torch.tensor([True, False]))[1])
    return torch.tensor(float(illegal))


def reading_b(shift):
    """4.7: share of c = 1 under threshold V for Q ~ U(-1, 1) + shift."""
    g = torch.Generator().manual_seed(0)
    q, value = (torch.rand(200_000, generator=g, dtype=F64) * 2 - 1 + shift for _ in range(2))
    return ((q - value) >= value).double().mean()


EXACT = [
    Oracle("X1", "MeanFlow identity on Gaussian data", x1_identity, "< 1e-12", lambda v: v < 1e-12),
    Oracle("X2", "one step: z - u(z,0,1) = m + s z", x2_one_step, "< 1e-12", lambda v: v < 1e-12),
    Oracle(
        "X3a",
        "tangent vs central difference, float64",
        lambda: tangent_against(F64, 1e-5),
        "< 1e-7",
        lambda v: v < 1e-7,
    ),
    Oracle("X3b", "same in float32", lambda: tangent_against(torch.float32, 1e-3), "< 3e-3", lambda v: v < 3e-3),
    Oracle("X3c", "tangent and gradient vs torch.func.jvp, S=2", tangent_against_func, "< 1e-12", lambda v: v < 1e-12),
    Oracle("X4", "c=1, omega=1 equals BC(MF)", x4_reduces_to_cloning, "< 1e-14", lambda v: v < 1e-14),
    Oracle("X5a", "r=k, c=1: grad(.5) = .5 grad(1)", lambda: guided_gradient(1, 0.5), "< 1e-10", lambda v: v < 1e-10),
    Oracle("X5b", "r=k, c=1: grad(3) = 3 grad(1)", lambda: guided_gradient(1, 3.0), "< 1e-10", lambda v: v < 1e-10),
    Oracle("X5c", "r=k, c=1: grad(20) = 20 grad(1)", lambda: guided_gradient(1, 20.0), "< 1e-10", lambda v: v < 1e-10),
    Oracle("X6", "negative control: c=0 must differ", lambda: guided_gradient(0, 3.0), "> 1e-3", lambda v: v > 1e-3),
    Oracle(
        "X7", "gradient = regression on frozen target", lambda: target_gradient(True), "< 1e-12", lambda v: v < 1e-12
    ),
    Oracle("X8", "negative control: no detach", lambda: target_gradient(False), "> 1e-2", lambda v: v > 1e-2),
    Oracle("X9", "Q+7.3 and 5Q leave c unchanged (labels changed)", x9_condition_invariant, "= 0", lambda v: v == 0),
    Oracle("X10", "literal mixer = N^2 mean mixer", x10_literal_mixer, "< 1e-12", lambda v: v < 1e-12),
    Oracle("X11", "expanded times equal contiguous ones", x11_broadcast_times, "< 1e-14", lambda v: v < 1e-14),
    Oracle("X12", "float32: t - 1e-12 == t (share)", x12_float32_delta, "= 1", lambda v: v == 1),
    Oracle("TD1", "tabular TD, mean mixer", lambda: tabular_td("mean"), "< 1e-6", lambda v: v < 1e-6),
    Oracle("TD2", "tabular TD, sum mixer (VDN)", lambda: tabular_td("sum"), "< 1e-6", lambda v: v < 1e-6),
    Oracle("TD3", "tabular TD, literal mixer", lambda: tabular_td("literal"), "< 1e-6", lambda v: v < 1e-6),
    Oracle(
        "TD4", "negative control: no terminal mask", lambda: tabular_td("mean", mask=False), "> 1e-1", lambda v: v > 0.1
    ),
    Oracle("D1", "illegal actions generated", illegal_actions, "= 0", lambda v: v == 0),
    Oracle("B-10", "threshold V at shift -10", lambda: reading_b(-10.0), "= 1", lambda v: v == 1),
    Oracle("B0", "threshold V at shift 0", lambda: reading_b(0.0), ".50 +- .01", lambda v: abs(v - 0.5) < 0.01),
    Oracle("B5", "threshold V at shift 5", lambda: reading_b(5.0), "= 0", lambda v: v == 0),
]
