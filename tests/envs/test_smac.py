"""SMAC with the real smacv2 and pysc2, and with a stand-in for the game (fake_sc2.py)."""

import importlib.util
import json
import os
import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from tests.envs.smac_games import EAST, STOP, Rule
from tests.envs.test_smac_tasks import SIZES, sizes, task
from vgm2p.envs.smac_install import WORKER_ENVIRONMENT
from vgm2p.envs.smac_maps import MAPS
from vgm2p.errors import ServiceError
from vgm2p.execution.rollout import RandomActor, rollout
from vgm2p.types import Seen

if importlib.util.find_spec("smacv2") is None:
    pytest.skip("smacv2 is not installed: make install-smac test-smac", allow_module_level=True)


def scored(episodes):
    return [(e.seed, e.episode, e.return_, e.length, e.terminated, e.won, e.extra) for e in episodes]


DESCRIBE = """
import json
from smacv2.env import StarCraft2Env
from smacv2.env.starcraft2.maps.smac_maps import get_smac_map_registry
from vgm2p.envs.smac_game import Game
names = ("n_agents", "obs_shape", "state_shape", "n_actions", "episode_limit")
def sizes(env):
    info = env.get_env_info()
    return [int(info[name]) for name in names]
found = {name: sizes(StarCraft2Env(map_name=name)) for name in get_smac_map_registry() if "gen" not in name}
for name, arguments in json.loads(input()).items():
    found[name] = sizes(Game(**arguments).game)
print(json.dumps(found))
"""


def test_every_size_is_smacv2s_own(game, make, tmp_path):
    """All maps of its registry, and teams of several sizes; no game starts for that."""
    game()
    names = [
        "terran_5_vs_5",
        "zerg_5_vs_5",
        "terran_10_vs_10",
        "protoss_5_vs_5",
        "terran_5_vs_6",
        "terran_6_vs_5",
        "zerg_20_vs_20",
        "protoss_3_vs_4",
    ]
    given = {name: dict(make(name).pool.arguments) for name in names}
    done = subprocess.run(
        [sys.executable, "-c", DESCRIBE],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **WORKER_ENVIRONMENT},
    )
    found = json.loads(done.stdout)
    assert found.keys() == {*MAPS, *names}
    for name, own in found.items():
        assert sizes(task(name)) == tuple(own), name


@pytest.mark.parametrize("name", [*SIZES, "protoss_5_vs_5"])
def test_whole_episodes_of_every_task(name, game, make):
    """Sizes, masks, ends and scores of a random, a fighting and an idle team."""
    game()
    env = make(name)
    n, width, state, actions, limit = SIZES.get(name, sizes(task(name)))
    env.make(2)
    frame = env.reset([3, 4])
    for policy in (Rule("fight"), RandomActor(env.spec), Rule("idle")):
        found = rollout(policy, env, 0, [0], 2)
        assert all(e.terminated and 0 < e.length <= limit and e.faults == 0 for e in found)
        assert all(np.isfinite([e.return_, *e.extra.values()]).all() for e in found)
        assert all(e.won == (e.extra["dead_enemies"] > e.extra["dead_allies"]) for e in found)
    assert not any(e.won or e.return_ for e in found)  # who stands still loses, and harms nobody
    assert frame.obs.shape == (2, n, width) and frame.legal.shape == (2, n, actions) and frame.state.shape == (2, state)
    assert frame.legal.any(-1).all() and not frame.legal[..., 0].any()  # all alive: no-op is not allowed
    assert np.isfinite(frame.obs).all() and np.isfinite(frame.state).all() and frame.obs.any(-1).all()


@pytest.mark.parametrize("name", ["3m", "8m", "2s3z"])
def test_a_won_episode_of_smacv1_is_worth_20(name, game, make):
    game()
    for episode in rollout(Rule("fight"), make(name), 0, [0], 3):
        assert episode.won and episode.terminated
        assert episode.return_ == pytest.approx(20.0) and episode.extra["score"] == pytest.approx(20.0)


@pytest.mark.parametrize("name", ["2s3z", "protoss_5_vs_5"])
def test_a_step_in_which_shields_only_regenerate(name, game, make):
    """SMACv1 pays it like damage, SMACv2 nothing: one shot, then two points of shield in 8 loops; score as return."""
    game(enemy="idle", regain=0.25)
    env = make(name, workers=1)

    def play(rule, frame):
        actions, _ = Rule(rule).act(Seen(torch.from_numpy(frame.obs), torch.from_numpy(frame.legal)), None, None)
        return env.step(actions.numpy(), np.ones(1, bool))

    hit = play("fight", env.reset([1]))
    while not hit.reward[0]:
        hit = play("fight", hit.frame)
    healed = play("idle", hit.frame)
    gained = (healed.info["score"] - hit.info["score"])[0]
    if name == "2s3z":
        hurt = healed.reward[0] / (2 * 20 / 1020)  # enemies
        assert hurt == pytest.approx(round(hurt)) and 1 <= hurt <= 5
        assert gained == pytest.approx(healed.reward[0])
    else:
        assert healed.reward[0] == gained == 0


@pytest.mark.parametrize("name", ["3m", "5m_vs_6m", "zerg_5_vs_5"])
def test_a_timeout_is_no_defeat(name, game, make):
    game(enemy="idle")
    env = make(name, workers=1)
    (episode,) = rollout(Rule("idle"), env, 0, [0], 1)
    limit = env.spec.episode_limit
    assert (episode.length, episode.terminated, episode.won, episode.faults) == (limit, False, False, 0)


def test_dead_agents_see_nothing_and_do_nothing(game, make):
    game()
    env = make("5m_vs_6m")
    frame, dead = env.reset([0]), 0
    while True:
        rows = [np.flatnonzero(row) for row in frame.legal[0]]
        step = env.step(np.array([[row[0] if row[0] == 0 else STOP for row in rows]]), np.ones(1, bool))
        if step.terminated[0]:
            break
        gone = np.array([row.tolist() == [0] for row in map(np.flatnonzero, step.frame.legal[0])])
        assert gone.sum() == step.info["dead_allies"][0]
        assert not step.frame.obs[0, gone].any() and step.frame.obs[0, ~gone].any(-1).all()
        frame, dead = step.frame, max(dead, int(gone.sum()))
    assert dead >= 3


def test_types_of_allies_on_smacv1_maps(game, make):
    """Two stalkers, then three zealots: the last two entries of an agent's own features."""
    game()
    own = make("2s3z").reset([0]).obs[0, :, -2:]
    assert own.tolist() == [[1, 0]] * 2 + [[0, 1]] * 3


def test_agents_of_smacv1_maps_see_an_enemy_although_another_is_seen_by_nobody(game, make):
    game(enemy="idle")
    env = make("8m")
    env.reset([0])
    for _ in range(4):  # agent 0 goes ahead alone
        step = env.step(np.array([[EAST] + 7 * [STOP]]), np.ones(1, bool))
    enemies = step.frame.obs[0, 0, 4:44].reshape(8, 5)
    distance = enemies[:, 1]
    assert enemies[0].any() and not enemies[-1].any()
    assert (distance[enemies.any(-1)] > 0).all()


def test_an_illegal_action_names_its_agent_and_does_not_reach_the_game(game, make):
    game()
    env = make("3m")
    env.reset([0])
    with pytest.raises(ServiceError, match="agent 1 chose action 7"):
        env.step(np.array([[STOP, 7, STOP]]), np.ones(1, bool))
    with pytest.raises(ServiceError, match="agent 2 chose action 9"):
        env.step(np.array([[STOP, STOP, 9]]), np.ones(1, bool))
    assert not env.step(np.array([[STOP] * 3]), np.ones(1, bool)).fault[0]


def first_frames(env, seeds):
    env.make(1)
    return [np.concatenate([f.obs.ravel(), f.state.ravel()]) for f in (env.reset([seed]) for seed in seeds)]


def test_a_seed_decides_teams_and_positions_whatever_was_played_before(game, make):
    game()
    one, two, three = first_frames(make("terran_5_vs_5", workers=1), [5, 6, 5])
    (other,) = first_frames(make("terran_5_vs_5", workers=1), [6])
    assert np.array_equal(two, other) and np.array_equal(one, three)
    assert not np.array_equal(one, two)


def test_the_generators_of_this_process_are_left_alone(game, make):
    game()
    random.seed(1)
    np.random.seed(1)
    before = random.getstate(), np.random.get_state()[1].tolist()
    rollout(Rule("fight"), make("zerg_5_vs_5"), 0, [0], 1)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before


@pytest.mark.parametrize("name", ["3m", "zerg_5_vs_5"])
def test_grouping_into_games_changes_no_result(name, game, make):
    game()
    one, two, three = (
        scored(rollout(RandomActor(env.spec), env, 5, [7, 8], 4))
        for env in (make(name, workers=1), make(name, workers=2), make(name, workers=3))
    )
    assert one == two == three
    assert len({extra["score"] for *_, extra in one}) > 3
