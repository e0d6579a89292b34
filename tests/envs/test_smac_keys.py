"""Keys of the game, the heuristic, and replays: with the real smacv2 and pysc2, and the stand-in for the game."""

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from vgm2p.envs.smac_install import WORKER_ENVIRONMENT
from vgm2p.execution.rollout import RandomActor, rollout
from vgm2p.execution.video import Scene, save_replay

if importlib.util.find_spec("smacv2") is None:
    pytest.skip("smacv2 is not installed: make install-smac test-smac", allow_module_level=True)

VERY_HARD, CHEAT_INSANE = 7, 10  # [s2client-proto, sc2api.proto, Difficulty]


@pytest.mark.parametrize("name", ["3m", "zerg_5_vs_5"])
def test_difficulty_and_steps_reach_the_game_and_are_part_of_the_task(name, game, make):
    home = game()
    usual, hard = make(name), make(name, difficulty="A", step_mul=4, move_amount=1.0)
    assert usual.spec.env_kwargs == {}
    assert hard.spec.env_kwargs == {"difficulty": "A", "step_mul": 4, "move_amount": 1.0}
    for env, difficulty, loops in ((usual, VERY_HARD, 8), (hard, CHEAT_INSANE, 4)):
        env.make(1)
        legal = env.reset([1]).legal[0]
        env.step(np.array([[np.flatnonzero(row)[0] for row in legal]]), np.ones(1, bool))
        assert json.loads((home / "asked").read_text()) == [difficulty, loops]


@pytest.mark.parametrize("name", ["3m", "terran_5_vs_5", "zerg_5_vs_5"])
def test_the_heuristic_acts_legally_and_better_than_a_random_policy(name, game, make):
    game()
    env = make(name, workers=3)
    random = rollout(RandomActor(env.spec), env, 0, [0], 6)
    rule = rollout(env.heuristic(), env, 0, [0], 6)  # an illegal action would be an error
    assert name == "zerg_5_vs_5" or sum(e.won for e in rule) > sum(e.won for e in random)
    assert np.mean([e.return_ for e in rule]) > 2 * np.mean([e.return_ for e in random])
    alone = make(name, workers=1)
    again = rollout(alone.heuristic(), alone, 0, [0], 2)
    assert [(e.return_, e.length) for e in again] == [(e.return_, e.length) for e in rule[:2]]


ADVICE = """
import json
from types import SimpleNamespace as Unit
import numpy as np
from vgm2p.envs.smac_advice import advice, prepare
from vgm2p.envs.smac_game import Game
game = Game(**json.loads(input())).game
game._controller = Unit(data=lambda: Unit(units=range(309)))
game._init_ally_unit_types(0)
game.max_distance_x = game.max_distance_y = game.map_x = game.map_y = 32
game.pathing_grid = np.ones((32, 32), bool)
def unit(kind, x, y, health=10):
    return Unit(unit_type=kind, pos=Unit(x=x, y=y), health=health, health_max=45, tag=1, shield=0)
enemies = lambda *health: {i: unit(kind, x, 16, h) for i, (kind, x, h) in enumerate(zip((54, 48, 51), (14, 15, 30), health))}
kinds = (game.marauder_id, game.medivac_id, game.marine_id)
game.agents = {i: unit(kind, 12, 16 + i) for i, kind in enumerate(kinds)}
game.agents[2].health = 0
found = []
for health in ((10, 10, 10), (10, 0, 10), (10, 0, 0)):
    game.enemies = enemies(*health)
    prepare(game)
    found.append(advice(game).tolist())
print(json.dumps(found))
"""


def test_what_the_heuristic_advises(game, make):
    """A marauder, a medivac and a dead marine against a medivac, a marine and a far marauder."""
    game()
    done = subprocess.run(
        [sys.executable, "-c", ADVICE],
        input=json.dumps(dict(make("terran_3_vs_3").pool.arguments)),
        capture_output=True,
        text=True,
        env={**os.environ, **WORKER_ENVIRONMENT},
    )
    assert done.returncode == 0, done.stderr
    stop, east, heal, attack = 1, 4, 6, 6
    assert json.loads(done.stdout.splitlines()[-1]) == [
        [attack + 1, heal + 0, 0],  # not the medivac, which is closer
        [east, heal + 0, 0],  # towards the marauder
        [stop, heal + 0, 0],  # nothing is left that it can hit
    ]


def test_a_replay_holds_one_episode_of_a_new_game(game, make, tmp_path):
    game()
    env = make("3m", workers=1)
    rollout(RandomActor(env.spec), env, 0, [0], 2)
    shown = save_replay(RandomActor(env.spec), env, tmp_path / "one.SC2Replay", Scene(0, [0]))
    assert shown.steps > 3
    assert (tmp_path / "one.SC2Replay").read_text() == "replay of 1 episodes"
