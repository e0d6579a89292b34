"""Statistical oracles of distributions: samples of cloned and guided policies against the distribution of the data."""

from __future__ import annotations

import functools

import torch

from tests.oracles.one_state import above, batch_of, below, near, noise, observe, spec
from tests.oracles.table import Oracle
from vgm2p.algos.bc_flow import BCFlow
from vgm2p.algos.bc_meanflow import BCMeanFlow
from vgm2p.algos.vgm2p import VGM2P
from vgm2p.flows.flow_matching import euler_sample
from vgm2p.flows.meanflow import meanflow_sample
from vgm2p.groups import Net, Optim
from vgm2p.nn.fast.kernels import one_hot
from vgm2p.rng import UpdateKey
from vgm2p.types import Seen


def mixture(count, generator):
    centres = torch.tensor([[0.7, 0.7], [0.7, -0.7], [-0.7, 0.7], [-0.7, -0.7]])
    chosen = torch.multinomial(torch.tensor([0.4, 0.3, 0.2, 0.1]), count, replacement=True, generator=generator)
    return centres[chosen] + 0.1 * torch.randn(count, 2, generator=generator)


def energy_distance(x, y):
    """2 E|x - y| - E|x - x'| - E|y - y'|, unbiased within terms."""

    def within(a):
        return torch.cdist(a, a).sum() / (len(a) * (len(a) - 1))

    return 2 * torch.cdist(x, y).mean() - within(x) - within(y)


def trained(cls, steps=4000, **options):
    """Train on the mixture: Adam 1e-3, 1e-4 for the last quarter (spec 10.2)."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    algorithm = cls(spec(), [0], net=Net(64, 3), optim=Optim(1e-3), **options)
    key = UpdateKey([0])
    for update in range(steps):
        if update == steps * 3 // 4:
            algorithm.optimisers["policy"].param_groups[0]["lr"] = 1e-4
        algorithm.update(batch_of(mixture(128, generator)[:, None]), key.at(update))
    return algorithm


def distance_to_mixture(sample):
    return energy_distance(sample, mixture(2000, torch.Generator().manual_seed(7)))


@functools.cache
@torch.enable_grad()
def meanflow_model():
    return trained(BCMeanFlow)


@functools.cache
@torch.enable_grad()
def flow_model():
    return trained(BCFlow)


@torch.no_grad()
def meanflow_distance():
    model = meanflow_model()
    sample = meanflow_sample(model.policy, noise(), model.encode(observe(2000)), None, 1)
    return distance_to_mixture(sample[0, :, 0])


@torch.no_grad()
def flow_distance(steps):
    model = flow_model()
    return distance_to_mixture(euler_sample(model.policy, noise(), model.encode(observe(2000)), None, steps)[0, :, 0])


def gaussian_distance():
    data = mixture(20_000, torch.Generator().manual_seed(2))
    fit = torch.distributions.MultivariateNormal(data.mean(0), torch.cov(data.T))
    torch.manual_seed(0)
    return distance_to_mixture(fit.sample((2000,)))


@functools.cache
def two_classes(omega, m=0.2, s=0.4, steps=3000):
    """Train Eq. 11 with given labels; return (mean, sd) of the one-step samples of class 1 and class 0."""
    algorithm = VGM2P(spec(actions=1), [0], net=Net(32, 3), omega=omega)
    generator, key = torch.Generator().manual_seed(0), UpdateKey([0])
    oid = algorithm.encode(observe(128))
    for update in range(steps):
        c = torch.randint(2, (1, 128, 1), generator=generator)
        action = (2.0 * c - 1).unsqueeze(-1) * m + s * torch.randn(1, 128, 1, 1, generator=generator)
        loss, _ = algorithm.policy_loss(oid, action, c, key.at(update))
        algorithm.minimise("policy", loss)
    found = {}
    with torch.no_grad():
        oid = algorithm.encode(observe(2000))
        for label in (0, 1):
            rows = one_hot(torch.full((1, 2000, 1), label), algorithm.classes, oid.dtype)
            sample = meanflow_sample(algorithm.policy, noise(width=1), oid, rows)
            found[label] = float(sample.mean()), float(sample.std())
    return found


def total_variation():
    p = torch.tensor([0.40, 0.25, 0.15, 0.10, 0.07, 0.03])
    generator, key = torch.Generator().manual_seed(0), UpdateKey([0])
    algorithm = BCMeanFlow(spec(actions=6, discrete=True), [0], net=Net(64, 3), optim=Optim(1e-3))
    for update in range(3000):
        if update == 2250:
            algorithm.optimisers["policy"].param_groups[0]["lr"] = 1e-4
        action = torch.multinomial(p, 128, replacement=True, generator=generator)[:, None]
        batch = batch_of(action)
        batch.legal = batch.next_legal = torch.ones(1, 128, 1, 6, dtype=torch.bool)
        algorithm.update(batch, key.at(update))
    with torch.no_grad():
        chosen, _ = algorithm.act(
            Seen(observe(5000), torch.ones(1, 5000, 1, 6, dtype=torch.bool)), None, UpdateKey([9])
        )
    return 0.5 * (torch.bincount(chosen.flatten(), minlength=6) / 5000 - p).abs().sum()


DISTRIBUTIONS = [
    Oracle("10.2a", "BC(MF) one step on the 2-D mixture, ED", meanflow_distance, "< .02", below(0.02)),
    Oracle(
        "10.2b",
        "same, share of the best Gaussian's ED",
        lambda: meanflow_distance() / gaussian_distance(),
        "< 1/3",
        below(1 / 3),
    ),
    Oracle("10.2c", "BC(FM) 10 Euler steps, ED", lambda: flow_distance(10), "< .01", below(0.01)),
    Oracle("10.2d", "negative control: BC(FM) 1 Euler step, ED", lambda: flow_distance(1), "> .1", above(0.1)),
    Oracle("10.3a", "omega 1, class 1 mean (m = .2)", lambda: two_classes(1.0)[1][0], ".2 +- .08", near(0.2, 0.08)),
    Oracle("10.3b", "omega 1, class 1 sd / s", lambda: two_classes(1.0)[1][1] / 0.4, "in [.5, 1.1]", near(0.8, 0.3)),
    Oracle("10.3c", "omega 3, class 1 mean", lambda: two_classes(3.0)[1][0], ".2 +- .08", near(0.2, 0.08)),
    Oracle("10.3d", "omega 3, class 1 sd / s", lambda: two_classes(3.0)[1][1] / 0.4, "in [.5, 1.1]", near(0.8, 0.3)),
    Oracle(
        "10.3e",
        "omega 3, class 0 mean (m (1 - 2 omega))",
        lambda: two_classes(3.0)[0][0],
        "-1 +- .15",
        near(-1.0, 0.15),
    ),
    Oracle("10.3f", "omega 5, class 0 mean", lambda: two_classes(5.0)[0][0], "-1.8 +- .27", near(-1.8, 0.27)),
    Oracle("10.5", "6 categories, total variation", total_variation, "< .07", below(0.07)),
]
