"""Victories and scores that are read from the rewards of recorded battles."""

import numpy as np
import pytest

from vgm2p.envs.outcomes import Recorded, outcomes, team_worths
from vgm2p.envs.smac_maps import MAPS, RACES, worth_v2

EXPECTED = {race: worth_v2(RACES[race].units, RACES[race].exceptions, 5, 5) for race in RACES}


def recorded(env_id, env_kwargs, rewards, length):
    """Return what a dataset with these rewards holds."""
    return Recorded(env_id, env_kwargs, rewards, length, np.add.reduceat(rewards, np.cumsum(length) - length))


def battles(worths, won, regain=0.0, heal=0.0, seed=0):
    """Return (rewards, length, points) of episodes in points of damage, in the scale of each episode's recorder.

    regain: share of steps in which enemies regain a part of a point.
    heal: share of steps with damage in which an enemy medivac heals 4.5 points (9 per second, 8 loops of 1/16 s).
    """
    rng = np.random.default_rng(seed)
    rewards, length, points = [], [], []
    for worth, win in zip(worths, won, strict=True):
        steps = rng.integers(20, 40)
        found = rng.integers(0, 20, steps) * rng.integers(0, 2, steps) + 10.0 * (rng.random(steps) < 0.1)
        found = np.maximum(found - rng.random(steps) * (rng.random(steps) < regain), 0.0)
        found = np.maximum(found - 4.5 * (rng.random(steps) < heal), 0.0)
        found[-1] += 200.0 * win
        rewards.append((found * 20 / worth).astype(np.float32))
        length.append(steps)
        points.append(found.sum())
    return np.concatenate(rewards).astype(float), np.array(length), np.array(points)


def test_the_largest_return_of_the_published_random_set():
    """16.18182 is 534 points of a recorder whose first team was worth 660 [OG-MARL's terran_5_vs_5 Random]."""
    assert 660.0 in team_worths("terran", 5)
    assert pytest.approx(16.18182, abs=1e-5) == 534 * 20 / 660


@pytest.mark.parametrize("race", RACES)
@pytest.mark.parametrize(("regain", "heal"), [(0.0, 0.0), (0.5, 0.0), (0.0, 0.3)])
def test_scores_and_victories_of_a_set_that_several_processes_recorded(race, regain, heal):
    """Each process has its own scale. Episodes at a change of the scale may go wrong, so few may differ."""
    teams = team_worths(race, 5)
    worths = np.repeat([teams[2], teams[-3], EXPECTED[race], teams[7]], 150)
    won = np.random.default_rng(1).integers(0, 2, len(worths))
    rewards, length, points = battles(worths, won, regain, heal)
    found = outcomes(recorded(f"smac_v2/{race}_5_vs_5", {}, rewards, length))
    right = np.isclose(found["score"], points * 20 / EXPECTED[race], rtol=1e-5)
    assert right.mean() > 0.98
    assert found["won"][right].tolist() == won[right].tolist()
    assert found["score"].mean() == pytest.approx(points.mean() * 20 / EXPECTED[race], rel=0.01)
    assert rewards.sum() / len(worths) != pytest.approx(found["score"].mean(), rel=0.01)


def test_an_unknown_scale_gives_no_score():
    """Rewards that are no multiples, multiples of an unknown unit, and of a unit that is half of a possible one."""
    rng = np.random.default_rng(0)
    length = np.full(100, 30)
    assert outcomes(recorded("smac_v2/terran_5_vs_5", {}, rng.random(3000), length)) == {}
    for worth in (683.0, 2 * team_worths("terran", 5)[4]):
        rewards, length, _ = battles(np.full(100, worth), np.zeros(100))
        assert outcomes(recorded("smac_v2/terran_5_vs_5", {}, rewards, length)) == {}, worth


@pytest.mark.parametrize("race", RACES)
def test_scales_that_alternate_between_episodes_give_no_score(race):
    """Two processes wrote in turn, so the neighbours of an episode have another scale. One of both scales would fit half."""
    teams = team_worths(race, 5)
    worths = np.tile([teams[2], teams[-3]], 100)
    rewards, length, _ = battles(worths, np.arange(200) % 3 == 0)
    assert outcomes(recorded(f"smac_v2/{race}_5_vs_5", {}, rewards, length)) == {}


def test_a_set_without_rewards_has_no_score():
    assert outcomes(recorded("smac_v2/zerg_5_vs_5", {}, np.zeros(60), np.array([30, 30]))) == {}


def test_other_shares_of_units_change_the_score_only():
    units = {"marine": 1.0, "marauder": 0.0, "medivac": 0.0}
    rewards, length, points = battles(np.full(80, 475.0), np.arange(80) % 2)
    found = outcomes(recorded("smac_v2/terran_5_vs_5", {"units": units}, rewards, length))
    assert found["won"].mean() == 0.5
    assert found["score"] == pytest.approx(points * 20 / 475, rel=1e-5)


@pytest.mark.parametrize("name", ["3m", "2s3z", "3s5z_vs_3s6z"])
def test_on_smacv1_maps_the_score_is_the_return(name):
    worth = 200 + 10 * MAPS[name].enemies + MAPS[name].toughness
    won = np.arange(40) % 3 == 0
    rewards, length, points = battles(np.full(40, worth), won)
    found = outcomes(recorded(f"smac_v1/{name}", {}, rewards, length))
    assert found["won"].tolist() == won.astype(float).tolist()
    assert found["score"] == pytest.approx(points * 20 / worth, rel=1e-5)


def test_rewards_of_another_scale_tell_no_victories():
    rewards, length, _ = battles(np.full(40, 365.0), np.ones(40))
    assert "won" in outcomes(recorded("smac_v1/3m", {}, rewards, length))
    assert "won" not in outcomes(recorded("smac_v1/3m", {}, 0.31 * rewards, length))
    assert outcomes(recorded("smac_v2/terran_epo_5_vs_5", {}, rewards, length)) == {}


def test_smax_victories_and_tasks_without_victories():
    rewards = np.array([0.3, 0.4, 1.3, 0.3, 0.6, 0.99])
    assert outcomes(recorded("smax/3m", {}, rewards, np.array([3, 3])))["won"].tolist() == [1.0, 0.0]
    assert outcomes(recorded("HalfCheetah-v5", {}, rewards, np.array([3, 3]))) == {}
