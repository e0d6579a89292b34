"""The spread of a policy's draws: known distributions, policies that have none, and a collapse that is seen."""

import pytest
import torch

from tests.algos.test_contract import build
from tests.oracles.one_state import batch_of, spec
from tests.support import continuous_spec, discrete_spec
from vgm2p.algos.bc_flow import BCFlow
from vgm2p.algos.bc_meanflow import BCMeanFlow
from vgm2p.algos.contract import Algorithm
from vgm2p.algos.spread import has_spread, spread
from vgm2p.flows.noise import start_noise
from vgm2p.flows.path import Times
from vgm2p.groups import Net, Optim
from vgm2p.rng import UpdateKey
from vgm2p.types import Acting


class Known(Algorithm):
    """Draws N(.1, .2^2) at full noise."""

    acting = Acting(noise=0.5, shared=True)

    def execute(self, o, legal, key, acting):
        return 0.1 + 0.2 * start_noise(key, o, self.spec.action_dim, acting)


def data_of(mean, std, rows=20_000):
    generator = torch.Generator().manual_seed(0)
    return batch_of(mean + std * torch.randn(rows, 1, 1, generator=generator))


@pytest.mark.parametrize(("mean", "std"), [(0.1, 0.2), (0.1, 0.0), (0.4, 0.0), (0.4, 0.4)])
def test_both_deviations_have_a_closed_form(mean, std):
    found = spread(Known(spec(actions=1), [0]), data_of(mean, std), UpdateKey([0]), 3)
    assert float(found["draw_std"]) == pytest.approx(0.2, rel=0.02)
    assert float(found["residual_std"]) == pytest.approx(((mean - 0.1) ** 2 + std**2) ** 0.5, abs=0.02)


@pytest.mark.parametrize(
    ("name", "task", "draws"),
    [
        ("bc_flow", continuous_spec, True),
        ("vgm2p_chosen", continuous_spec, True),
        ("mac_flow", continuous_spec, True),
        ("bc_flow", discrete_spec, False),
        ("bc_gaussian", continuous_spec, False),
        ("ma_td3bc", continuous_spec, False),
        ("dof", continuous_spec, False),
    ],
)
def test_only_policies_that_draw_single_actions_from_noise_have_it(name, task, draws):
    assert has_spread(build(name, task())) == draws


def two_modes(algorithm, updates=1500, rows=64):
    """Train on .7 N(.6, .05^2) + .3 N(-.6, .05^2), and return (draw_std, residual_std) on further data."""
    generator, key = torch.Generator().manual_seed(0), UpdateKey([0])

    def data(count):
        sign = 2.0 * (torch.rand(count, 1, 1, generator=generator) < 0.7) - 1.0
        return batch_of(0.6 * sign + 0.05 * torch.randn(count, 1, 1, generator=generator))

    for update in range(updates):
        algorithm.update(data(rows), key.at(update))
    return [float(each) for each in spread(algorithm, data(4000), UpdateKey([1]), 0).values()]


@pytest.mark.slow
def test_a_policy_that_averages_two_modes_is_seen():
    """Most times near noise and a predicted action: the network learns the mean action first."""
    size, narrow = {"net": Net(128, 2), "optim": Optim(1e-3)}, {"predict": "x", "times": Times("late")}
    drawn, around = two_modes(BCFlow(spec(actions=1), [0], **size))
    assert 0.85 < drawn / around < 1.2 and around == pytest.approx(0.55, abs=0.05)  # .6 sqrt(1 - .4^2), and .05
    drawn, around = two_modes(BCMeanFlow(spec(actions=1), [0], **size, **narrow))
    assert drawn / around < 0.5 and around == pytest.approx(0.55, abs=0.05)
