"""Rollouts in real MuJoCo: grouping, order and repetitions change nothing; faults are repeated and counted, not scored."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from vgm2p.commands.collect import Behaviour
from vgm2p.envs.base import Episode, Unplayed, episode_seed
from vgm2p.envs.mujoco import MAMuJoCo
from vgm2p.errors import RolloutStopped, ServiceError
from vgm2p.execution.rollout import RandomActor, Unplayable, rollout
from vgm2p.report.estimates import by_start, rate_interval, wilson
from vgm2p.report.statistics import statistics
from vgm2p.rng import ActKey
from vgm2p.run.folder import EPISODE_FIELDS, episode_row
from vgm2p.types import Seen, Spec


class Faulty(MAMuJoCo):
    """Hoppers whose episodes `broken` fail at step 4, as often as the table says."""

    def __init__(self, broken):
        super().__init__("Hopper-v5", 3, "raw_onehot", episode_limit=40)
        self.left = dict(broken)

    def reset(self, seeds):
        self.numbers = [None if seed is None else seed - episode_seed(0) for seed in seeds]
        return super().reset(seeds)

    def step(self, actions, active):
        result = super().step(actions, active)
        for e, number in enumerate(self.numbers):
            if active[e] and self._steps[e] == 4 and self.left.get(number, 0):
                self.left[number] -= 1
                result.fault[e], result.terminated[e], result.truncated[e] = True, False, False
        return result


def run(env, slots=100, episodes=5, seeds=(7, 8), **options) -> list[Episode]:
    return rollout(RandomActor(env.spec), env, 3, list(seeds), episodes, slots=slots, **options)


def without_faults(episodes):
    return [(e.seed, e.episode, e.return_, e.length, e.terminated) for e in episodes]


@pytest.fixture(scope="module")
def plain():
    return run(Faulty({}))


def test_episodes_come_ordered_and_complete(plain):
    assert [(e.seed, e.episode) for e in plain] == [(s, n) for s in (7, 8) for n in range(5)]
    assert len({e.return_ for e in plain}) == 10
    assert all(e.faults == 0 for e in plain)


@pytest.mark.parametrize("slots", [1, 2, 4, 6])
def test_grouping_changes_nothing(plain, slots):
    assert run(Faulty({}), slots) == plain


@pytest.mark.parametrize("slots", [2, 100])
def test_failed_episodes_are_repeated_and_counted_with_the_same_result(plain, slots):
    env = Faulty({1: 3, 4: 1})
    found = run(env, slots)
    assert without_faults(found) == without_faults(plain)
    assert sum(e.faults for e in found) == 4
    assert {e.episode for e in found if e.faults} == {1, 4}


class Few(Faulty):
    """Plays at most two episodes at once, and says more of each than its return."""

    max_active = 2

    def reset(self, seeds):
        assert sum(seed is not None for seed in seeds) <= self.max_active
        return super().reset(seeds)

    def step(self, actions, active):
        assert active.sum() <= self.max_active
        result = super().step(actions, active)
        cause = np.array(["it fell" if fault else "" for fault in result.fault], object)
        result.info |= {"steps": self._steps.copy(), "won": self._steps > 10, "cause": cause}
        return result


@pytest.mark.parametrize("slots", [3, 100])
def test_no_more_episodes_are_active_than_the_environment_can_play_and_results_stay(plain, slots):
    found = run(Few({1: 2}), slots)
    assert without_faults(found) == without_faults(plain)
    assert sum(e.faults for e in found) == 2
    assert all(e.extra == {"steps": float(e.length)} and e.won == (e.length > 10) for e in found)


def test_the_cause_of_a_lasting_failure_is_told():
    with pytest.raises(ServiceError, match=r"episode 2 \(it fell\)"):
        run(Few({2: 99}))


def test_an_episode_that_cannot_be_played_is_left_out_for_every_seed_and_told(plain):
    missing = []
    found = run(Few({2: 99}), unplayed=missing)
    assert without_faults(found) == [row for row in without_faults(plain) if row[1] != 2]
    assert missing == [Unplayed(2, "it fell")]
    assert statistics(found, missing)["unplayed"] == [2]
    assert statistics(found, missing)["episodes"] == 8


def test_a_rollout_of_which_nothing_can_be_played_is_an_error():
    with pytest.raises(Unplayable) as error:
        run(Few(dict.fromkeys(range(5), 99)), unplayed=[])
    assert error.value.failure.cause == "it fell"


def test_further_numbers_reach_rows_results_and_other_processes():
    found = run(Few({}), seeds=(3, 4))
    assert [Episode(**json.loads(json.dumps(asdict(e)))) for e in found] == found
    rows = [episode_row(9, e, None) for e in found]
    assert [list(row) for row in rows] == [[*EPISODE_FIELDS, "steps"]] * 10
    results = statistics(found)
    won = sum(e.won for e in found)
    assert results["steps_mean"] == results["length_mean"]
    scored = statistics([replace(e, extra={"score": e.return_}) for e in found])
    assert scored["score_mean"] == scored["return_mean"]
    assert results["win_rate"] == pytest.approx(won / 10)
    outcomes = by_start([(e.seed, e.episode, float(e.won)) for e in found])
    assert results["win_rate_ci95"] == list(rate_interval(list(outcomes.values())))
    alone = statistics([e for e in found if e.seed == 3])
    assert alone["win_rate_ci95"] == alone["win_rate_per_seed_ci95"][0] == list(wilson(sum(outcomes[3]), 5))
    assert len(results["win_rate_per_seed"]) == len(results["win_rate_per_seed_ci95"]) == 2


def test_an_evaluation_of_which_almost_nothing_could_be_played_has_statistics(plain):
    found = statistics([plain[0], replace(plain[0], episode=99, return_=1.0)])
    assert found["return_mean"] == pytest.approx((plain[0].return_ + 1.0) / 2)
    assert found["return_ci95"][0] < found["return_mean"] < found["return_ci95"][1]


def test_files_without_further_numbers_have_the_usual_columns(plain):
    assert list(episode_row(1, plain[0], 0.5)) == list(EPISODE_FIELDS)
    assert set(statistics(plain)) == {
        "episodes",
        "return_mean",
        "return_std",
        "return_std_per_seed",
        "return_iqm",
        "return_ci95",
        "per_seed",
        "evaluated_seeds",
        "length_mean",
        "win_rate",
        "unplayed",
        "faults",
    }


def test_an_episode_that_always_fails_ends_the_evaluation():
    with pytest.raises(ServiceError, match="episode 2"):
        run(Faulty({2: 99}))


def test_a_subset_of_episodes_equals_its_part_of_the_whole(plain):
    found = run(Faulty({}), episodes=[3, 1])
    assert found == [e for e in plain if e.episode in (1, 3)]


def test_one_seed_equals_its_part_of_several(plain):
    assert run(Faulty({}), seeds=(8,)) == [e for e in plain if e.seed == 8]


def test_it_stops_between_steps_when_asked():
    steps = []
    with pytest.raises(RolloutStopped):
        run(Faulty({}), stop=lambda: len(steps) >= 3, on_step=lambda step, ended, total: steps.append(step))
    assert steps == [1, 2, 3]


@pytest.mark.parametrize("slots", [100, 4])
def test_it_tells_how_many_episodes_have_ended(slots):
    told = []
    found = run(Faulty({}), slots=slots, on_step=lambda *numbers: told.append(numbers))
    ended = [ended for _, ended, _ in told]
    assert {total for *_, total in told} == {len(found)} and ended[-1] == len(found)
    assert ended == sorted(ended) and len(set(ended)) > 2


def test_the_random_policy_is_uniform_and_legal():
    spec = Spec(4, 3, 5, True, None, 10, "native", "toy")
    legal = torch.rand(1, 500, 4, 5, generator=torch.Generator().manual_seed(0)) > 0.5
    legal[..., 2] = True
    key = ActKey([0], 0, list(range(500)))
    action, _ = RandomActor(spec).act(Seen(torch.zeros(1, 500, 4, 3), legal), None, key.at(0))
    assert legal.gather(-1, action.unsqueeze(-1)).all()
    everything = torch.ones_like(legal)
    action, _ = RandomActor(spec).act(Seen(torch.zeros(1, 500, 4, 3), everything), None, key.at(1))
    counts = np.bincount(action.flatten(), minlength=5)
    assert ((counts - 400) ** 2 / 400).sum() < 23.5  # chi square, 4 degrees of freedom, p = 1e-4


def test_a_random_policy_that_explores_is_the_random_policy():
    spec, seen = Spec(4, 3, 5, True, None, 10, "native", "toy"), Seen(torch.zeros(1, 9, 4, 3))
    key = ActKey([0], 0, list(range(9)))
    plain, _ = RandomActor(spec).act(seen, None, key.at(0))
    explored, _ = Behaviour(RandomActor(spec), 1, 0.5, spec).act(seen, None, key.at(0))
    assert torch.equal(plain, explored)
