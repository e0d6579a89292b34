"""The noise levels and samplers of `vgm2p.flows.diffusion`, against frozen numbers and plain references."""

import math

import pytest
import torch

from tests.flows.gaussian import F64, exact_noise, moments
from vgm2p.errors import ConfigError
from vgm2p.flows.diffusion import DATA, Schedule

SCHEDULE = Schedule(200)


def normal(*shape, source=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(source), dtype=F64)


def betas():
    return [1 - there / here for here, there in zip([1.0, *SCHEDULE.abar], SCHEDULE.abar, strict=False)]


def test_the_200_levels_are_those_of_diffusers():
    found = betas()
    assert found[:3] == pytest.approx([0.000255, 0.000376, 0.000498], abs=5e-7)
    assert found[-3:] == pytest.approx([0.555511, 0.749985, 0.999], abs=5e-7)
    known = {0: 0.999745, 50: 0.841358, 100: 0.486052, 150: 0.138840, 182: 0.017445}
    assert {k: SCHEDULE.abar[k] for k in known} == pytest.approx(known, abs=5e-7)


def test_the_grids_are_those_of_diffusers():
    leading = [182, 169, 156, 143, 130, 117, 104, 91, 78, 65, 52, 39, 26, 13, 0]
    trailing = [199, 186, 172, 159, 146, 132, 119, 106, 92, 79, 66, 52, 39, 26, 12]
    assert SCHEDULE.grid(15, "leading") == leading
    assert SCHEDULE.grid(15) == trailing
    assert SCHEDULE.grid(200) == SCHEDULE.grid(200, "leading") == [*reversed(range(200))]
    assert (SCHEDULE.grid(1), SCHEDULE.grid(1, "leading")) == ([199], [0])


@pytest.mark.parametrize("steps", [0, 201])
def test_more_steps_than_levels_are_refused(steps):
    with pytest.raises(ConfigError, match=f"200 levels cannot take {steps} sampling steps"):
        SCHEDULE.grid(steps)


@pytest.mark.parametrize(("shape", "lead"), [((2, 4, 3, 5), 3), ((2, 4, 6, 3, 5), 2)], ids=["actions", "windows"])
def test_every_row_gets_the_noise_of_its_own_level(shape, lead):
    schedule = Schedule(200).double()
    x0, eps = normal(*shape), normal(*shape, source=1)
    level = torch.randint(200, shape[:lead], generator=torch.Generator().manual_seed(2))
    seen = schedule.diffuse(x0, eps, level)
    for index in torch.cartesian_prod(*map(torch.arange, shape[:lead])).tolist():
        row, abar = tuple(index), schedule.abar[level[tuple(index)]]
        wanted = math.sqrt(abar) * x0[row] + math.sqrt(1 - abar) * eps[row]
        torch.testing.assert_close(seen[row], wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("level", [0, 50, 150, 182, 195])
def test_a_step_with_the_true_noise_returns_the_data(level):
    schedule = Schedule(200)
    x0, eps = normal(1, 8, 3, 2).float(), normal(1, 8, 3, 2, source=1).float()
    x = schedule.diffuse(x0, eps, torch.full((1, 8), level))
    for end in (schedule.ddim(x, eps, level, DATA), schedule.ddpm(x, eps, level, DATA, torch.randn_like(x))):
        torch.testing.assert_close(end, x0, rtol=0, atol=2e-5)


@pytest.mark.parametrize(("level", "to"), [(100, 99), (199, 186), (12, 0), (5, DATA)])
def test_ddpm_draws_from_the_posterior(level, to):
    """Against Bayes' rule: N(x_to; sqrt(abar_to) x0, 1 - abar_to) times N(x; sqrt(kept) x_to, 1 - kept)."""
    x, eps, z = (normal(6, source=source) for source in range(3))
    here, there = (1.0 if k == DATA else SCHEDULE.abar[k] for k in (level, to))
    kept, x0 = here / there, (x - math.sqrt(1 - here) * eps) / math.sqrt(here)
    prior = 1 / max(1 - there, 1e-300)  # precisions
    likelihood = kept / (1 - kept)
    mean = (prior * math.sqrt(there) * x0 + likelihood * x / math.sqrt(kept)) / (prior + likelihood)
    wanted = mean + z / math.sqrt(prior + likelihood)
    torch.testing.assert_close(SCHEDULE.ddpm(x, eps, level, to, z), wanted, rtol=0, atol=1e-10)


def test_only_the_predicted_data_are_clipped():
    x, eps = torch.tensor([4.0], dtype=F64), torch.tensor([0.5], dtype=F64)
    assert SCHEDULE.x0_of(x, eps, 100) > 1
    assert SCHEDULE.x0_of(x, eps, 100, clip=1.0) == 1
    abar = SCHEDULE.abar[50]
    wanted = math.sqrt(abar) + math.sqrt(1 - abar) * 0.5
    assert float(SCHEDULE.ddim(x, eps, 100, 50, clip=1.0)) == pytest.approx(wanted, abs=1e-12)


LEADING, TRAILING, ALL = SCHEDULE.grid(15, "leading"), SCHEDULE.grid(15), SCHEDULE.grid(200)
KNOWN = [
    (ALL, 1.0, True, (0.30000, 0.19182)),
    (ALL, 0.5, True, (0.30000, 0.19182)),
    (ALL, 1.0, False, (0.29999, 0.19645)),
    (LEADING, 1.0, False, (0.29343, 0.16572)),
    (LEADING, 0.5, False, (0.29343, 0.08286)),
    (TRAILING, 1.0, False, (0.29999, 0.15884)),
]


@pytest.mark.parametrize(("grid", "start", "ancestral", "wanted"), KNOWN)
def test_samples_of_gaussian_data_and_the_start_noise_matters_for_ddim_only(grid, start, ancestral, wanted):
    assert moments(SCHEDULE, grid, start, ancestral) == pytest.approx(wanted, abs=6e-6)


def test_the_exact_moments_are_those_of_draws():
    z = normal(200_000)
    noise = torch.Generator().manual_seed(1)
    draws = SCHEDULE.sample(
        exact_noise(SCHEDULE), z, LEADING, None, lambda level: torch.randn(z.shape, generator=noise, dtype=F64)
    )
    wanted = moments(SCHEDULE, LEADING, ancestral=True)
    assert (float(draws.mean()), float(draws.std())) == pytest.approx(wanted, abs=2e-3)
