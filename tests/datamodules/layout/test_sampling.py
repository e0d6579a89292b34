"""Drawing by return: weights exp(R / T), the temperature that an effective sample size gives, and its limits."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vgm2p.datamodules.layout.combine import best
from vgm2p.datamodules.layout.sampling import by_return, sampling_line
from vgm2p.datamodules.layout.schema import INCOMPLETE, TIMEOUT, Columns
from vgm2p.datamodules.sources.recorded import Bundled
from vgm2p.datamodules.store.returns import episode_ranks
from vgm2p.datamodules.store.transitions import TransitionStore
from vgm2p.errors import ConfigError


def episodes(returns, lengths, ends=TIMEOUT):
    """A dataset of episodes; `ends`: how they ended, one for all or one each."""
    columns = {"return": np.array(returns, np.float64), "length": np.array(lengths, np.int32)}
    return Columns({}, columns | {"end": np.broadcast_to(ends, len(returns))}, {})


def test_two_episodes_have_a_closed_form():
    """Equal lengths and weights 1 and q: the share is (1 + q)^2 / (2 (1 + q^2)), so q = 1/3 gives 0.8."""
    found = by_return(episodes([0.0, 6.0], [50, 50]), 0.8)
    assert found.temperature == pytest.approx(6.0 / math.log(3))
    assert found.probabilities == pytest.approx(np.array([0.25, 0.75]) / 50)
    assert (found.ess, found.return_mean, found.episodes) == (pytest.approx(0.8), pytest.approx(4.5), 1)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(-1e6, 1e6), st.integers(1, 1000)), min_size=1, max_size=30),
    st.floats(0.01, 1.0),
)
def test_the_effective_sample_size_is_the_requested_one_or_the_least_possible(pairs, ess):
    returns, lengths = (np.array(each, np.float64) for each in zip(*pairs, strict=True))
    found = by_return(episodes(returns, lengths), ess)
    weights = np.repeat(found.probabilities, lengths.astype(int))
    assert weights.sum() == pytest.approx(1.0)
    assert 1 / (weights**2).sum() / len(weights) == pytest.approx(found.ess)
    unit = 1e-6 * max(abs(returns).max(), 1e-30)
    returns = np.round(returns / unit) * unit
    top = returns == returns.max()
    if found.temperature == 0.0:
        assert found.ess == pytest.approx(lengths[top].sum() / lengths.sum()) and found.ess >= ess - 1e-9
        assert (found.probabilities[~top] == 0).all()
    elif np.ptp(returns) > 0:
        assert found.ess == pytest.approx(ess, rel=1e-6)
    assert found.return_mean >= (returns @ lengths) / lengths.sum() - unit


def test_its_limits_are_all_steps_alike_and_the_best_episode():
    dataset = episodes([1.0, 2.0, 3.0], [10, 10, 80])
    alike = by_return(dataset, 1.0)
    assert alike.temperature is None and alike.probabilities == pytest.approx(np.full(3, 0.01))
    best = by_return(dataset, 0.1)  # the best episode alone holds more
    assert (best.temperature, best.ess, best.episodes) == (0.0, pytest.approx(0.8), 1)
    assert best.probabilities == pytest.approx([0.0, 0.0, 1 / 80])
    equal = by_return(episodes([5.0, 5.0], [10, 30]), 0.1)
    assert equal.temperature is None and equal.probabilities == pytest.approx(np.full(2, 1 / 40))


def test_rounding_chooses_no_episode():
    """Half of the episodes pay 20 in all, in parts that are rounded to float32: the sums differ."""
    rng = np.random.default_rng(0)
    wins = [(20 * rng.dirichlet(np.ones(50))).astype(np.float32).astype(np.float64).sum() for _ in range(100)]
    assert len(set(wins)) > 50
    found = by_return(episodes([*wins, *rng.uniform(0, 19, 100)], [20] * 200), 0.1)
    assert (found.temperature, found.ess, found.episodes) == (0.0, pytest.approx(0.5), 50)
    assert by_return(episodes(wins, [20] * 100), 0.1).temperature is None


def test_the_wins_of_the_bundled_battles_are_drawn_alike():
    store = TransitionStore.load(Bundled("2s3z_quickstart").resolve(), "native")
    facts = by_return(store.dataset, 0.1).facts
    highest = store.dataset.episodes["return"] > 0.999 * store.dataset.episodes["return"].max()
    assert facts["temperature"] == 0.0 and facts["episodes"] == pytest.approx(highest.sum() / 2, abs=2)


def test_an_incomplete_episode_has_no_return():
    returns, lengths = [-200.0, -190.0, -5.0], [200, 200, 5]
    found = by_return(episodes(returns, lengths, [TIMEOUT, TIMEOUT, INCOMPLETE]), 0.5)
    assert found.probabilities[2] == 0.0 and found.return_mean < -189
    assert by_return(episodes(returns, lengths, INCOMPLETE), 0.01).probabilities[2] == pytest.approx(0.2)
    columns = episodes(returns, lengths, [TIMEOUT, TIMEOUT, INCOMPLETE])
    assert best(columns, 0.1).tolist() == [1]
    assert best(episodes(returns, lengths, INCOMPLETE), 0.1).tolist() == [2]
    columns.steps = {"has_action": np.ones(405, np.uint8)}
    assert set(episode_ranks(columns)[[0, 200, 400]].tolist()) == {0.5, 1.0, 0.0}


def test_adding_a_constant_or_a_unit_changes_no_probability():
    returns, lengths = [3.0, -1.0, 8.0, 2.5], [7, 100, 9, 30]
    first = by_return(episodes(returns, lengths), 0.3)
    other = by_return(episodes([1000.0 + 50.0 * value for value in returns], lengths), 0.3)
    assert other.probabilities == pytest.approx(first.probabilities, rel=1e-4)
    assert other.temperature == pytest.approx(50.0 * first.temperature, rel=1e-4)


def test_episodes_without_steps_are_never_drawn_and_never_count_as_best():
    found = by_return(episodes([1.0, 99.0, 2.0], [10, 0, 10]), 0.9)
    assert found.probabilities[1] == 0.0 and found.return_mean < 2.0


def test_the_line_says_all_numbers():
    facts = by_return(episodes([0.0, 6.0], [50, 50]), 0.8).facts
    assert sampling_line(facts) == (
        "temperature 5.461, effective sample size 0.8 of the steps, mean return 4.50; 1 episode holds half of the draws"
    )
    assert sampling_line(by_return(episodes([1.0, 1.0], [5, 5]), 0.8).facts).startswith("all steps alike, effective")
    best = by_return(episodes([0.0, 6.0], [5, 50]), 0.1).facts
    assert sampling_line(best).startswith("only the episodes with the highest return, effective sample size 0.909")


@pytest.mark.parametrize("ess", [0.0, -0.1, 1.1, math.nan])
def test_other_shares_are_refused(ess):
    with pytest.raises(ConfigError, match=r"data\.ess must be above 0 and at most 1"):
        by_return(episodes([1.0], [5]), ess)
