"""The constant scale of SMACv2's rewards: its value, its effect, and returns that depend on the policy and episodes only."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.envs.smac_games import Rule
from tests.envs.test_outcomes import recorded
from vgm2p.envs.outcomes import outcomes
from vgm2p.envs.smac_install import WORKER_ENVIRONMENT
from vgm2p.envs.smac_maps import RACES, TOUGHNESS, worth_v2
from vgm2p.execution.rollout import RandomActor, rollout

if importlib.util.find_spec("smacv2") is None:
    pytest.skip("smacv2 is not installed: make install-smac test-smac", allow_module_level=True)

PAGE = Path(__file__).parents[2] / "docs" / "smac.md"
TEAMS = 20_000
DRAW = """
import json, random
import numpy as np
from smacv2.env.starcraft2.distributions import WeightedTeamsDistribution
found = []
for config in json.loads(input()):
    random.seed(0)
    teams = WeightedTeamsDistribution({**config, "env_key": "team_gen"})
    teams.rng = np.random.default_rng(0)
    drawn = [teams.generate()["team_gen"]["enemy_team"] for _ in range(config["count"])]
    found.append([sum(config["worths"][str(unit)] for unit in team) for team in drawn])
print(json.dumps(found))
"""


def drawn_worths(*tasks):
    """Return the points of a victory over TEAMS teams of smacv2's own generator, for (units, exceptions, n, m) each."""
    given = [
        {
            "unit_types": list(units),
            "weights": list(units.values()),
            "exception_unit_types": exceptions,
            "n_units": n,
            "n_enemies": m,
            "count": TEAMS,
            "worths": {name: 10 + tough for name, tough in TOUGHNESS.items()},
        }
        for units, exceptions, n, m in tasks
    ]
    done = subprocess.run(
        [sys.executable, "-c", DRAW],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **WORKER_ENVIRONMENT},
    )
    return [200 + np.array(worths) for worths in json.loads(done.stdout)]


def test_the_scale_is_the_mean_worth_of_smacv2s_own_teams():
    """Also with fewer or more enemies than agents, and where a whole team is often drawn again."""
    often = {"zergling": 0.2, "baneling": 0.6, "hydralisk": 0.2}
    tasks = [
        *[(RACES[race].units, list(RACES[race].exceptions), 5, 5) for race in RACES],
        *[(often, ["baneling"], n, m) for n, m in ((2, 2), (2, 3), (3, 2), (2, 6))],
        (RACES["terran"].units, ["medivac", "marauder"], 2, 1),
    ]
    for task, worths in zip(tasks, drawn_worths(*tasks), strict=True):
        assert abs(worths.mean() - worth_v2(*task)) < 4 * worths.std() / np.sqrt(TEAMS), task


def test_the_page_says_how_much_a_published_return_differs():
    """Factor, and relative deviations of one process and of a mean over six, for the tasks of the paper."""
    rows = re.findall(r"^\| (terran|zerg) (\d+) against \d+ \|([^\n]+)\|$", PAGE.read_text(), re.M)
    assert len(rows) == 3
    tasks = [(RACES[race].units, list(RACES[race].exceptions), int(n), int(n)) for race, n, _ in rows]
    for task, (_, _, cells), worths in zip(tasks, rows, drawn_worths(*tasks), strict=True):
        constant, factor, one, six = (float(cell.replace(" %", "")) for cell in cells.split("|"))
        ratio = worth_v2(*task) / worths
        assert constant == pytest.approx(worth_v2(*task), abs=0.051)
        assert factor == pytest.approx(ratio.mean(), abs=0.0031)
        deviation = 100 * ratio.std() / ratio.mean()
        assert one == pytest.approx(deviation, abs=0.3)
        assert six == pytest.approx(deviation / np.sqrt(6), abs=0.15)


def played(episodes):
    return {(e.seed, e.episode): (e.return_, e.extra["score"], e.length, e.won) for e in episodes}


def assert_equal(found, wanted):
    """The same policy in the same episodes has the same returns."""
    assert found.keys() <= wanted.keys() and found
    for pair, values in found.items():
        assert values == pytest.approx(wanted[pair], rel=1e-9, abs=1e-9), pair


@pytest.mark.parametrize("name", ["terran_5_vs_5", "zerg_5_vs_5"])
def test_returns_depend_on_neither_workers_nor_seeds_nor_crashes(name, game, make):
    game()
    wanted = played(rollout(RandomActor(make(name).spec), make(name, workers=2), 5, [7, 8], 5))
    assert len({return_ for return_, *_ in wanted.values()}) > 5
    for workers, seeds in ((1, [7]), (3, [7, 8]), (5, [8])):
        env = make(name, workers=workers)
        found = played(rollout(RandomActor(env.spec), env, 5, seeds, 5))
        assert len(found) == 5 * len(seeds)
        assert_equal(found, wanted)
    game(faults={"every": 3, "kinds": ["crash", "kill"], "at": 4})
    env = make(name, workers=2)
    again = rollout(RandomActor(env.spec), env, 5, [7, 8], 5)
    assert sum(episode.faults for episode in again) >= 3
    assert_equal(played(again), wanted)


def test_return_and_score_are_one_number(game, make):
    game()
    env = make("terran_5_vs_5")
    for episode in rollout(Rule("fight"), env, 0, [0], 4):
        assert episode.return_ == pytest.approx(episode.extra["score"], rel=1e-12)


RECORDER = """
import json, random, sys
import numpy as np
from smacv2.env import StarCraftCapabilityEnvWrapper
from vgm2p.envs.smac_game import generators
given = json.loads(input())
random.seed(given["seed"]); np.random.seed(given["seed"])
env = StarCraftCapabilityEnvWrapper(**given["arguments"], capability_config=given["capabilities"])
for index, (holder, name) in enumerate(generators(env)):
    setattr(holder, name, np.random.default_rng([given["seed"], index]))
rewards, lengths, won = [], [], []
for episode in range(12):
    env.reset()
    over, steps = False, 0
    while not over:
        legal = [np.flatnonzero(row) for row in env.get_avail_actions()]
        fight = episode % 2
        actions = [row[-1] if fight and row[-1] > 5 else 4 if fight and 4 in row else random.choice(row) for row in legal]
        reward, over, info = env.step(actions)
        rewards.append(float(np.float32(reward)))
        steps += 1
    lengths.append(steps)
    won.append(info["battle_won"])
env.close()
print(json.dumps([env.env.max_reward, rewards, lengths, won]))
"""


@pytest.mark.parametrize("name", ["terran_5_vs_5", "zerg_5_vs_5"])
def test_the_scale_of_data_that_smacv2_itself_recorded_is_found(name, game, make):
    """Two recorders, unrepaired, each with the scale of its first team."""
    game()
    given = dict(make(name).pool.arguments)
    parts = []
    for seed in (1, 2):
        done = subprocess.run(
            [sys.executable, "-c", RECORDER],
            input=json.dumps({"seed": seed, **given}),
            capture_output=True,
            text=True,
            env={**os.environ, **WORKER_ENVIRONMENT},
        )
        assert done.returncode == 0, done.stderr
        parts.append(json.loads(done.stdout.splitlines()[-1]))
        worth, rewards, lengths, won = parts[-1]
        data = recorded(f"smac_v2/{name}", {}, np.array(rewards), np.array(lengths))
        found = outcomes(data)
        assert found["won"].tolist() == [float(win) for win in won]
        assert found["score"] == pytest.approx(data.returns * worth / given["worth"], rel=1e-6)
        assert name == "zerg_5_vs_5" or sum(won) > 0
    assert parts[0][0] != parts[1][0]
