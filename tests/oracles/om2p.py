"""Oracles of OM2P: its limit without Q, its derivative by a difference, separate agents, and a policy of two modes."""

from __future__ import annotations

import functools

import torch

from tests.oracles.distributions import energy_distance
from tests.oracles.one_state import batch_of, below, near, noise, observe, spec
from tests.oracles.table import Oracle
from tests.support import continuous_spec, random_batch
from vgm2p.algos.bc_meanflow import BCMeanFlow
from vgm2p.algos.om2p import OM2P
from vgm2p.flows.meanflow import BackwardDifference
from vgm2p.flows.path import point, velocity
from vgm2p.groups import Net, Optim
from vgm2p.nn.policy import AverageVelocity
from vgm2p.rng import UpdateKey
from vgm2p.seeds import initialise


@torch.enable_grad()
def against_bc_meanflow(updates=5):
    """q_weight 0, shared parameters, exact derivative: largest difference from BC(MF)'s policy on the same seed."""
    task, key = continuous_spec(), UpdateKey([3])
    ours = OM2P(task, [3], net=Net(16, 2), q_weight=0.0, derivative="jvp", share_parameters=True)
    bc = BCMeanFlow(task, [3], net=Net(16, 2))
    for update in range(updates):
        batch = random_batch(task, source=update)
        ours.step(batch, key.at(update))
        bc.step(batch, key.at(update))
    pairs = zip(ours.policy.parameters(), bc.policy.parameters(), strict=True)
    return max((a - b).detach().abs().max() for a, b in pairs)


def difference_error(delta, dtype=torch.float32):
    """Relative error of du/dk by a backward difference, for a fresh network of VGM2P's size and HalfCheetah's inputs."""
    net = AverageVelocity(1, 29, 1, 0, Net(512, 4))
    initialise([net], [0], "policy")
    net, generator = net.to(dtype), torch.Generator().manual_seed(0)
    eps, o = (torch.randn(1, 256, width, generator=generator) for width in (1, 29))
    action, *drawn = torch.rand(3, 1, 256, 1, generator=generator)
    k, r = torch.maximum(*drawn), torch.minimum(*drawn)
    inputs = [x.to(dtype) for x in (point(2.0 * action - 1.0, eps, k), r, k, o, velocity(2.0 * action - 1.0, eps))]
    with torch.no_grad():
        exact, rough = (each.along(*inputs[:4], None, inputs[4])[1] for each in (net, BackwardDifference(net, delta)))
    return (rough - exact).norm() / exact.norm()


def released_difference_at_a_half():
    """t - 1e-12 at t = .5 in float32: the change of t."""
    t = torch.tensor(0.5)
    return (t - (t - 1e-12)).abs()


def largest_time_that_moves():
    """Largest power of two t for which t - 1e-12 differs from t in float32."""
    t = 2.0 ** -torch.arange(40, dtype=torch.float32)
    return t[t - 1e-12 != t].max()


@torch.enable_grad()
def leak(updates=3):
    """Largest change in the networks of agents 0 and 2 when the data of agent 1 change."""
    task = continuous_spec()
    first, second = (OM2P(task, [0], net=Net(16, 2)) for _ in range(2))
    for update in range(updates):
        batch = random_batch(task, source=update)
        other = batch.map(torch.clone)
        for field in ("obs", "next_obs", "action"):
            getattr(other, field)[:, :, 1] *= 0.5
        first.step(batch, UpdateKey([0]).at(update))
        second.step(other, UpdateKey([0]).at(update))
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    thirds = [(a.chunk(3, 1), b.chunk(3, 1)) for a, b in pairs]
    return max((a[i] - b[i]).detach().abs().max() for a, b in thirds for i in (0, 2))


def modes(count, generator):
    """Actions +-.6 with deviation .05."""
    sign = 2.0 * torch.randint(2, (count, 1), generator=generator) - 1.0
    return 0.6 * sign + 0.05 * torch.randn(count, 1, generator=generator)


@functools.cache
@torch.enable_grad()
def acted(derivative):
    """Actions (2000, 1) of a policy that cloned `modes` without Q, and their start noise."""
    algorithm = OM2P(spec(actions=1), [0], net=Net(32, 2), optim=Optim(3e-3), q_weight=0.0, derivative=derivative)
    generator, key = torch.Generator().manual_seed(0), UpdateKey([0])
    for update in range(2000):
        batch = batch_of(modes(128, generator).unsqueeze(1))
        algorithm.minimise("policy", algorithm.policy_loss(batch, algorithm.encode(batch.obs), key.at(update))[0])
    z = noise(width=1)
    with torch.no_grad():
        return algorithm.sample(algorithm.encode(observe(2000)), z)[0, :, 0], z[0, :, 0]


def distance(sample):
    return energy_distance(sample, modes(2000, torch.Generator().manual_seed(7)))


def correlation(derivative):
    return torch.corrcoef(torch.stack([x[:, 0] for x in acted(derivative)]))[0, 1]


DELTAS = [(1e-1, 8.7e-3), (1e-2, 8.8e-4), (1e-3, 2.1e-3), (1e-4, 2.0e-2)]
OM2P_ROWS = [
    Oracle("OP1", "q_weight 0, shared, jvp: BC(MF) after 5 updates", against_bc_meanflow, "= 0", lambda v: v == 0),
    *(
        Oracle(
            f"OP2{letter}",
            f"du/dk by a difference of {delta:g}, float32, error",
            lambda delta=delta: difference_error(delta),
            f"{known:.1e}, factor 2",
            lambda v, known=known: known / 2 < v < known * 2,
        )
        for letter, (delta, known) in zip("abcd", DELTAS, strict=True)
    ),
    Oracle(
        "OP2e",
        "same, .01 in float64",
        lambda: difference_error(1e-2, torch.float64),
        "7.9e-4, factor 2",
        lambda v: 4e-4 < v < 1.6e-3,
    ),
    Oracle("OP3a", "float32: .5 - (.5 - 1e-12)", released_difference_at_a_half, "= 0", lambda v: v == 0),
    Oracle("OP3b", "float32: largest t that 1e-12 changes", largest_time_that_moves, "< 5e-5", below(5e-5)),
    Oracle("OP4", "other data of agent 1: change of the others", leak, "= 0", lambda v: v == 0),
]
ONE_STEP = [
    Oracle("OP5a", "modes +-.6, fd: ED (clipped noise: .095)", lambda: distance(acted("fd")[0]), "< .06", below(0.06)),
    Oracle("OP5b", "same, jvp", lambda: distance(acted("jvp")[0]), "< .06", below(0.06)),
    Oracle(
        "OP5c",
        "clipped noise itself, ED",
        lambda: distance(noise(width=1)[0, :, 0].clamp(-1, 1)),
        ".095",
        near(0.095, 0.02),
    ),
    Oracle("OP5d", "fd: correlation of action and noise", lambda: correlation("fd"), "> .5", lambda v: v > 0.5),
]
