"""Estimates without a simulator: intervals, chances, rank correlations, and estimates that mean nothing."""

import json

import numpy as np
import pytest

from vgm2p.errors import DataError
from vgm2p.report.ranking import (
    bounds95,
    chance_of_best,
    chance_of_more,
    rank_correlation,
    rank_correlations,
    resampled_values,
)
from vgm2p.report.value_tables import order, table
from vgm2p.report.values import Estimate, read_estimates, simulated, summary


def estimate(name="a", centre=100.0, seeds=2, spread=1.0, source=0, **changes):
    rng = np.random.default_rng(source)
    values = centre + spread * rng.normal(size=(seeds, 4, 6))
    fields = {
        "name": name,
        "way": None,
        "seeds": list(range(seeds)),
        "table": values,
        "drift": [0.0] * seeds,
        "factor": 5.0,
        "support": (-1000.0, 1000.0),
        "best": 500.0,
        "simulator": None,
        "question": {},
    }
    return Estimate(**{**fields, **changes})


def test_the_interval_holds_the_spread_of_every_axis():
    rng = np.random.default_rng(0)
    for axis, size in ((0, 12), (1, 12), (2, 40)):
        shape = [1, 1, 1]
        shape[axis] = size
        effect = rng.normal(size=shape)
        low, high = bounds95(resampled_values([np.broadcast_to(effect, [12, 12, 40])])[0])
        half = 1.96 * effect.std() / np.sqrt(size)
        assert (low, high) == pytest.approx((effect.mean() - half, effect.mean() + half), abs=0.15 * half + 0.02), axis


def test_intervals_cover_the_truth_where_critics_and_starts_differ():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        values = rng.normal(size=(1, 10, 1)) + rng.normal(size=(1, 1, 20)) + 0.1 * rng.normal(size=(1, 10, 20))
        low, high = bounds95(resampled_values([values])[0])
        hits += low <= 0 <= high
    assert 0.85 <= hits / 200 <= 0.99


def test_luck_that_all_policies_share_cancels_in_their_order():
    rng = np.random.default_rng(2)
    luck = 100 * (rng.normal(size=(1, 5, 1)) + rng.normal(size=(1, 1, 9)))
    samples = resampled_values([luck + 1.0, luck, luck - 1.0])
    assert chance_of_best(samples) == [1.0, 0.0, 0.0]
    assert chance_of_more(samples[1], samples[2]) == 1.0
    assert bounds95(samples[0])[0] < bounds95(samples[2])[1]  # each alone is unsure


def test_equal_policies_are_ties():
    values = np.random.default_rng(3).normal(size=(1, 5, 9))
    samples = resampled_values([values, values, values])
    assert chance_of_best(samples) == pytest.approx([1 / 3] * 3)
    assert chance_of_more(samples[0], samples[1]) == 0.5
    several = resampled_values([np.random.default_rng(4).normal(size=(5, 5, 9))] * 2)
    assert chance_of_more(several[0], several[1]) == pytest.approx(0.5, abs=0.05)


def test_rank_correlation_has_its_textbook_values():
    assert rank_correlation([1, 2, 3, 4], [10, 20, 30, 4000]) == pytest.approx(1.0)
    assert rank_correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1.0)
    assert rank_correlation([1, 2, 2, 4], [1, 3, 2, 4]) == pytest.approx(0.9486833)  # ties at their mean rank
    assert rank_correlation([86, 97, 99, 100, 101, 103, 106, 110, 112, 113], [2, 20, 28, 27, 50, 29, 7, 17, 6, 12]) == (
        pytest.approx(-29 / 165)
    )
    assert np.isnan(rank_correlation([1, 1, 1], [1, 2, 3]))
    samples = np.array([[1.0, 1.0, 1.0], [2.0, 2.0, 0.0], [3.0, 3.0, 3.0]])
    assert rank_correlations(samples, [1, 2, 3]) == pytest.approx((0.525, 1.0))


def test_an_estimate_that_left_the_possible_values_has_no_number():
    wild = estimate("wild", seeds=2)
    wild.table[1, 2] = 5e6
    gone = estimate("gone", seeds=1)
    gone.table[0, 0, 0] = np.nan
    for one, seed, count in ((wild, 1, 1), (gone, 0, 1)):
        assert not one.usable
        (line,) = one.warnings()
        assert line.startswith(f"warning: {one.name}, seed {seed}: {count} of 4 critics left [-1000.0, 1000.0]")
        assert summary(one)["value"] is None
        assert summary(one)["per_seed"][seed]["return"] is None
    assert summary(wild)["per_seed"][0]["return"] == pytest.approx(500, abs=5)
    text = table([wild], 0.9, np.array([1.0, 2.0]), np.array([1.0, 2.0]), np.array([1]))
    assert [line.split("|")[3].strip() for line in text.splitlines()[3:5]] == ["diverged", "diverged"]  # seed 1, all
    found, said = order([wild, gone, estimate("good"), estimate("better", 200.0)])
    assert [entry["policy"] for entry in found["ranking"]] == ["better", "good"]
    assert "left out, since it means nothing: wild, gone" in said
    assert "no ranking" in order([wild, estimate("good")])[1]


def test_what_makes_an_estimate_doubtful_is_said():
    moving = estimate(drift=[0.0, 30.0])
    assert [line.split(": ")[1] for line in moving.warnings()] == ["a, seed 1"]
    assert "raise updates=" in moving.warnings()[0]
    assert "above the best episode" in estimate(best=50.0, seeds=1).warnings()[0]
    assert not estimate().warnings()


def test_an_order_of_unfinished_fits_has_no_chances():
    found, text = order([estimate("a", 300.0, 1), estimate("b", 100.0, 1, drift=[30.0])])
    assert [entry["policy"] for entry in found["ranking"]] == ["a", "b"]
    assert [entry["chance_of_best"] for entry in found["ranking"]] == [None, None]
    assert "100%" not in text and "values still move (b); raise updates=" in text
    assert order([estimate("a", 300.0, 1), estimate("b", 100.0, 1)])[0]["ranking"][0]["chance_of_best"] == 1.0


def test_the_order_says_how_sure_it_is_and_how_the_simulator_ranks():
    close = [estimate(name, centre, 1, source=i) for i, (name, centre) in enumerate((("a", 100.0), ("b", 100.5)))]
    found, text = order([*close, estimate("c", 300.0, 1)])
    assert found["ranking"][0]["policy"] == "c"
    assert found["ranking"][0]["chance_of_best"] == 1.0
    assert found["simulator"] is None and "rank correlation" not in text
    known = [
        estimate(name, centre, 1, simulator={0: centre}) for name, centre in (("a", 10.0), ("b", 20.0), ("c", 30.0))
    ]
    found, text = order(known)
    assert found["simulator"]["rank_correlation"] == 1.0
    assert "rank correlation with the simulator: 1.00 [1.00, 1.00] over 3 policies" in text


def test_a_return_of_the_simulator_belongs_to_its_seed():
    entry = {"act_noise": 1.0, "per_seed": [42.0], "evaluated_seeds": [1]}
    results = {"updates": 5, "seeds": [0, 1], "by_act_noise": [entry]}
    assert simulated(results, 5, 1.0) == {1: 42.0}
    assert simulated(results, 6, 1.0) is None and simulated(results, 5, 0.0) is None
    del entry["evaluated_seeds"]  # of an earlier version: nobody knows whose return it is
    assert simulated(results, 5, 1.0) is None
    text = table([estimate(simulator={1: 42.0})], 0.9, np.ones(3), np.ones(3), np.arange(3))
    rows = [[cell.strip() for cell in line.split("|")] for line in text.splitlines() if line.startswith("| a ")]
    assert [(row[2], row[5]) for row in rows] == [("0", ""), ("1", "42.0"), ("all", "42.0")]


def test_a_damaged_file_is_one_line(tmp_path):
    path = tmp_path / "estimate.json"
    path.write_text(json.dumps({"seeds": [0], "by_act_noise": [{"act_noise": None, "table": [1.0]}]}))
    with pytest.raises(DataError, match="estimate the run again"):
        read_estimates(path, "a", None)
