"""Statistics against closed forms, and the torchmetrics against numpy."""

import math

import numpy as np
import pytest
import torch

from vgm2p.io.text import decimals, shown
from vgm2p.report.estimates import (
    by_start,
    difference,
    interval,
    iqm,
    mean,
    rate_difference,
    rate_interval,
    resampled_means,
    wilson,
)
from vgm2p.report.metrics import Deviation, InterquartileMean, Mean, Total, WinRate
from vgm2p.report.tables import bounds


def test_iqm_cuts_a_quarter_on_each_side():
    assert iqm(range(8)) == pytest.approx(np.mean([2, 3, 4, 5]))
    assert iqm([0, 1, 2, 3, 1000]) == pytest.approx((0.75 * 1 + 2 + 0.75 * 3) / 2.5)
    assert iqm([7.0]) == 7.0


def test_wilson_interval_has_its_textbook_values():
    assert wilson(8, 10) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
    assert wilson(0, 10)[0] == 0.0
    assert wilson(10, 10)[1] == pytest.approx(1.0)
    assert wilson(0, 0) == (0.0, 1.0)


def test_the_interval_of_one_seed_is_that_of_its_mean():
    values = np.random.default_rng(0).normal(10, 2, 100)
    low, high = interval([values])
    half = 1.96 * values.std() / 10
    assert low == pytest.approx(values.mean() - half, abs=0.08)
    assert high == pytest.approx(values.mean() + half, abs=0.08)


def test_the_interval_of_several_seeds_contains_the_spread_between_them():
    rng = np.random.default_rng(1)
    centres = rng.normal(0, 5, 12)
    seeds = [rng.normal(centre, 0.1, 20) for centre in centres]
    low, high = interval(seeds)
    half = 1.96 * centres.std() / np.sqrt(12)
    assert low == pytest.approx(centres.mean() - half, abs=0.5)
    assert high == pytest.approx(centres.mean() + half, abs=0.5)


def test_intervals_contain_the_true_mean_about_as_often_as_stated():
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(200):
        seeds = [rng.normal(rng.normal(0, 1), 1, 10) for _ in range(10)]
        low, high = interval(seeds)
        hits += low <= 0 <= high
    assert 0.86 <= hits / 200 <= 0.98  # percentile bootstraps of ten seeds are a little short


def test_common_starts_of_all_seeds_do_not_average_out():
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(200):
        luck = rng.normal(0, 1, 20)  # of a start, whoever plays it
        low, high = interval([luck + rng.normal(0, 0.3) + rng.normal(0, 0.3, 20) for _ in range(5)])
        hits += low <= 0 <= high
    assert 0.88 <= hits / 200 <= 0.99  # drawn anew for every seed: 0.7


def test_common_starts_of_two_methods_cancel_in_their_difference():
    rng = np.random.default_rng(4)
    luck = rng.normal(0, 100, 20)
    first, second = ([luck + rng.normal(centre, 1, 20) for _ in range(5)] for centre in (5, 0))
    centre, low, high = difference(first, second)
    assert 4 < low < centre < high < 6
    assert interval(first)[1] - interval(first)[0] > 50
    gaps = [[np.where(np.arange(20) == 7, np.nan, values) for values in side] for side in (first, second)]
    centre, low, high = difference(*gaps)
    assert 4 < low < centre < high < 6


def test_a_missing_episode_hardly_changes_an_interval():
    rng = np.random.default_rng(6)
    seeds = [rng.normal(0, 1) + rng.normal(0, 5, 20) for _ in range(6)]
    luck = rng.normal(0, 5, 20)
    seeds = [values + luck for values in seeds]
    whole = interval(seeds)
    seeds[3] = np.append(seeds[3][:7], [np.nan, *seeds[3][8:]])
    np.testing.assert_allclose(interval(seeds), whole, atol=0.3)
    np.testing.assert_allclose(interval([*seeds[:5], seeds[5][:19]]), whole, atol=0.3)  # the last start is missing


def test_the_same_returns_give_the_same_interval_in_pieces_of_any_size(monkeypatch):
    seeds = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    whole = resampled_means(seeds)
    assert whole.mean() == pytest.approx(mean(seeds), abs=0.05)
    monkeypatch.setattr("vgm2p.report.estimates.AT_ONCE", 100)
    assert resampled_means(seeds).tolist() == whole.tolist()


def test_seeds_with_unequal_numbers_of_episodes():
    rng = np.random.default_rng(5)
    seeds = [rng.normal(centre, 1, size) for centre, size in ((10, 5), (11, 40), (12, 8), (10, 3), (12, 9))]
    low, high = interval(seeds)
    assert 9.5 < low < mean(seeds) - 0.3 < mean(seeds) + 0.3 < high < 12.5


def test_rates_are_never_certain():
    assert rate_interval([[1.0] * 10]) == wilson(10, 10)
    assert rate_interval([[1.0] * 10] * 5) == wilson(10, 10)
    assert rate_interval([[0.0] * 10] * 5) == wilson(0, 10)
    outcomes = [[1.0] * 8 + [0.0] * 2, [0.0] * 10]
    assert rate_interval(outcomes) == interval(outcomes)


def test_the_difference_of_two_methods():
    a, b = [[10.0, 11.0], [12.0, 13.0]], [[1.0, 2.0], [3.0, 2.0]]
    centre, low, high = difference(a, b)
    assert centre == pytest.approx(11.5 - 2.0)
    assert 0 < low < centre < high


def test_the_difference_of_rates_is_never_certain():
    """Newcombe (1998), Statistics in Medicine 17, table II, method 10; with spread on both sides it is the bootstrap's."""
    for won, of, expected in (
        ((10, 0), (10, 10), (0.6075, 1)),
        ((10, 0), (10, 20), (0.6791, 1)),
        ((0, 0), (10, 20), (-0.1611, 0.2775)),
    ):
        first, second = ([[1.0] * k + [0.0] * (n - k)] for k, n in zip(won, of, strict=True))
        assert rate_difference(first, second) == pytest.approx((won[0] / of[0], *expected), abs=1e-4)
    mixed = [[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]]
    assert rate_difference(mixed, mixed) == difference(mixed, mixed)
    assert all(map(math.isnan, rate_difference([[1.0]], mixed)[1:]))


def test_small_returns_keep_the_digits_that_tell_them_apart():
    assert [decimals(values) for values in ([-3.1, 812.0], [18.2, -4.0], [0.48, 2.0], [])] == [0, 1, 2, 2]
    assert [shown(value) for value in (2994.13, -12.34, 0.482)] == ["2994.1", "-12.3", "0.48"]


def test_values_stand_at_the_place_of_their_start():
    found = by_start([(2, 1, 1.0), (0, 0, 2.0), (2, 3, 3.0)])
    assert list(found) == [0, 2] and found[0] == [2.0]
    np.testing.assert_array_equal(found[2], [np.nan, 1.0, np.nan, 3.0])
    for rows in ([(0, 1, 1.0), (0, 1, 2.0)], [(0, -1, 1.0)], [(0, 10**9, 1.0)]):
        with pytest.raises(ValueError, match="episode"):
            by_start(rows)


def test_metrics_per_seed_equal_numpy_whatever_the_batches():
    rng = np.random.default_rng(0)
    seed, value = rng.integers(3, size=60), rng.normal(size=60)
    made = {cls: cls(3) for cls in (Mean, Deviation, Total, InterquartileMean)}
    for first in range(0, 60, 17):
        part = slice(first, first + 17)
        for metric in made.values():
            metric.update(torch.as_tensor(seed[part]), torch.as_tensor(value[part]))
    truths = {Mean: np.mean, Deviation: np.std, Total: np.sum, InterquartileMean: iqm}
    for cls, metric in made.items():
        np.testing.assert_allclose(metric.compute(), [truths[cls](value[seed == s]) for s in range(3)], atol=1e-9)


def test_deviations_of_large_returns_keep_their_digits():
    value = 1e12 + np.random.default_rng(0).normal(size=20)
    metric = Deviation(1)
    metric.update(torch.zeros(20, dtype=torch.long), torch.as_tensor(value))
    np.testing.assert_allclose(metric.compute(), [np.std(value)], rtol=1e-9)


def test_win_rates_have_wilson_intervals():
    metric = WinRate(2)
    metric.update(torch.tensor([0] * 10 + [1] * 4), torch.tensor([1.0] * 8 + [0.0] * 2 + [0.0] * 4))
    assert metric.compute().tolist() == [0.8, 0.0]
    assert metric.intervals() == [wilson(8, 10), wilson(0, 4)]


def test_bounds_are_shown_without_negative_zeros():
    assert bounds((-0.3, -1.2, 0.4), 0) == "0 [-1, 0]"
    assert bounds((-0.3, -1.2, 0.004), 2) == "-0.30 [-1.20, 0.00]"
