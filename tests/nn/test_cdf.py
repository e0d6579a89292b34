"""The normaliser: uniform, invertible, exact for features with few values."""

import torch

from vgm2p.datamodules.store.survey import quantiles
from vgm2p.nn.cdf import Cdf

G = torch.Generator().manual_seed(0)
CONTINUOUS = torch.randn(20_000, generator=G) ** 3
BINARY = (torch.rand(20_000, generator=G) < 0.3).float()
THREE = torch.randint(3, (20_000,), generator=G).float()
DATA = torch.stack([CONTINUOUS, BINARY, torch.full((20_000,), 5.0), THREE], 1)


def fitted(knots=1024):
    made = Cdf(4, knots)
    made.fit(quantiles(DATA, knots))
    return made


def test_a_continuous_feature_becomes_uniform():
    y = fitted()(DATA)[:, 0].sort().values
    share = torch.arange(1, len(y) + 1) / len(y)
    assert ((y + 1) / 2 - share).abs().max() < 0.002  # Kolmogorov-Smirnov
    assert y[0] == -1.0
    assert y[-1] == 1.0


def test_few_values_have_the_share_of_the_data_up_to_them():
    y = fitted()(DATA)
    low, high = y[BINARY == 0, 1], y[BINARY == 1, 1]
    torch.testing.assert_close(
        low, torch.full_like(low, 2 * float((BINARY == 0).float().mean()) - 1), atol=3e-3, rtol=0
    )
    assert (high == 1.0).all()
    for value in range(3):
        expected = 2 * float((value >= THREE).float().mean()) - 1
        assert (y[value == THREE, 3] - expected).abs().max() < 3e-3
    between = fitted()(torch.tensor([[0.0, 0.5, 5.0, 0.0]]))[0, 1]
    torch.testing.assert_close(between, (low[0] + 1.0) / 2)


def test_it_is_undone_within_the_range():
    made = fitted()
    torch.testing.assert_close(made.inverse(made(DATA)), DATA, rtol=1e-4, atol=1e-4)
    y = torch.rand(50, 6, 4, generator=G) * 2 - 1
    again = made(made.inverse(y))
    torch.testing.assert_close(again[..., 0], y[..., 0], rtol=0, atol=1e-4)
    wide = made.inverse(torch.tensor([[-3.0, -3.0, -3.0, -3.0], [3.0, 3.0, 3.0, 3.0]]))
    assert wide[:, 0].tolist() == [CONTINUOUS.min(), CONTINUOUS.max()]
    assert wide[:, 1].tolist() == [0.0, 1.0]


def test_what_lies_outside_is_clipped_and_a_constant_passes():
    y = fitted()(torch.tensor([[1e6, 7.0, 5.0, 9.0], [-1e6, -7.0, 6.5, -9.0]]))
    assert y[0].tolist() == [1.0, 1.0, 5.0, 1.0]
    assert y[1, 0] == -1.0
    assert y[1, 2] == 6.5
    fresh, x = Cdf(4, 8), torch.randn(3, 4, generator=G)
    assert torch.equal(fresh(x), x)
    assert torch.equal(fresh.inverse(x), x)


def test_its_state_travels():
    made, again = fitted(), Cdf(4)
    again.load_state_dict(made.state_dict())
    assert torch.equal(again(DATA), made(DATA))


def test_nan_stays_nan():
    assert fitted()(torch.full((1, 4), torch.nan)).isnan().all()
