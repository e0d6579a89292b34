"""Oracles of BC(Diffusion): its noise levels, its samplers with the exact noise, and a policy of two modes."""

from __future__ import annotations

import functools

import torch

from tests.flows.gaussian import F64, moments
from tests.oracles.exact import gaussian_v
from tests.oracles.one_state import batch_of, below, moment_rows, near, observe, spec
from tests.oracles.table import Oracle
from tests.support import continuous_spec, random_batch
from vgm2p.algos.bc_diffusion import BCDiffusion
from vgm2p.flows.diffusion import DATA, Schedule
from vgm2p.flows.flow_matching import euler_sample
from vgm2p.groups import Net, Optim
from vgm2p.rng import ActKey, UpdateKey
from vgm2p.types import Acting, Seen

SCHEDULE = Schedule(100)
ALL = range(99, -1, -1)


def grid_error():
    return float(SCHEDULE.grid(10) != [99, 89, 79, 69, 59, 49, 39, 29, 19, 9])


def euler_moments(steps=10):
    """Mean and deviation of Euler steps along the exact velocity of N(.3, .2^2)."""
    z = torch.tensor([[0.0], [1.0]], dtype=F64)
    ends = euler_sample(lambda x, k, o, c, legal: gaussian_v(x, k, 0.3, 0.2), z, z, None, steps)
    return float(ends[0]), float(ends[1] - ends[0])


def one_step_error():
    """One DDIM step with the true noise, from each level with abar > 1e-3, in float32: largest error."""
    generator = torch.Generator().manual_seed(0)
    x0, eps = (torch.randn(1, 64, 1, 2, generator=generator) for _ in range(2))
    errors = []
    for level in (k for k in ALL if SCHEDULE.abar[k] > 1e-3):
        x = SCHEDULE.diffuse(x0, eps, torch.full((1, 64, 1), level))
        errors.append((SCHEDULE.ddim(x, eps, level, DATA) - x0).abs().max())
    return max(errors)


@torch.no_grad()
def change_without_noise():
    """act_noise 0: largest difference of actions in different episodes with the same observations."""
    algorithm = BCDiffusion(continuous_spec(), [0], net=Net(8, 2))
    seen = Seen(random_batch(algorithm.spec).obs)
    keys = ActKey([0], 0, range(8)), ActKey([0], 0, range(8, 16))
    first, second = (algorithm.act(seen, None, key, Acting(noise=0.0, steps=10))[0] for key in keys)
    return (first - second).abs().max()


@functools.cache
@torch.enable_grad()
def bimodal():
    """Samples of a policy that cloned .7 N(.6, .05^2) + .3 N(-.6, .05^2)."""
    algorithm = BCDiffusion(spec(actions=1), [0], net=Net(128, 2), optim=Optim(1e-3))
    generator, key = torch.Generator().manual_seed(0), UpdateKey([0])
    for update in range(1500):
        sign = 2.0 * (torch.rand(256, 1, 1, generator=generator) < 0.7) - 1.0
        algorithm.update(batch_of(0.6 * sign + 0.05 * torch.randn(256, 1, 1, generator=generator)), key.at(update))
    with torch.no_grad():
        return algorithm.act(Seen(observe(4000)), None, UpdateKey([9]))[0].flatten()


MOMENTS = [
    ("DDIM, 10 steps", lambda: moments(SCHEDULE, SCHEDULE.grid(10)), 0.29998, 0.1406),
    ("DDIM, 20 steps", lambda: moments(SCHEDULE, SCHEDULE.grid(20)), 0.29998, 0.1682),
    ("DDIM, 5 steps", lambda: moments(SCHEDULE, SCHEDULE.grid(5)), 0.29999, 0.0974),
    ("DDPM, 100 steps", lambda: moments(SCHEDULE, ALL, ancestral=True), 0.3000, 0.1854),
    ("flow matching, 10 Euler steps", euler_moments, 0.3000, 0.1542),
]
LEVELS = {0: 0.999369, 10: 0.966717, 50: 0.478265, 90: 0.019544, 98: 0.000243, 99: 2.4e-7}
BC_DIFFUSION = [
    *(
        Oracle(
            f"BD1-{level}",
            f"100 levels: abar at {level}",
            lambda level=level: SCHEDULE.abar[level],
            f"{known:g}",
            near(known, 1e-8 if level == 99 else 1e-6),
        )
        for level, known in LEVELS.items()
    ),
    Oracle("BD2", "10 of 100 levels: 99, 89, ..., 9 (differences)", grid_error, "= 0", lambda v: v == 0),
    *moment_rows("BD3", MOMENTS, 6e-5),
    Oracle("BD4", "one DDIM step with the true noise, float32", one_step_error, "< 2e-5", below(2e-5)),
    Oracle("BD5", "act_noise 0: change of the actions", change_without_noise, "= 0", lambda v: v == 0),
]
BIMODAL = [
    Oracle(
        "BD6a",
        ".7 / .3 at +-.6: P(a > 0)",
        lambda: (bimodal() > 0).float().mean(),
        "in [.62, .80]",
        near(0.71, 0.09),
    ),
    Oracle("BD6b", "same: mass within .3 of 0", lambda: (bimodal().abs() < 0.3).float().mean(), "< .08", below(0.08)),
]
