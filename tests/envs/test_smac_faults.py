"""SMAC when games, workers or the trainer fail: a fault is not a defeat, and no game keeps running (game: fake_sc2.py)."""

import importlib.util
import os
import signal
import subprocess
import sys

import numpy as np
import psutil
import pytest

from tests.envs.smac_games import STOP, Rule, games
from tests.envs.test_workers import workers
from vgm2p.commands.doctor import checks
from vgm2p.envs.smac import SMACv1
from vgm2p.errors import MissingInput, ServiceError
from vgm2p.execution.rollout import rollout

if importlib.util.find_spec("smacv2") is None:
    pytest.skip("smacv2 is not installed: make install-smac test-smac", allow_module_level=True)
slow = pytest.mark.slow
HANG = 15.0  # seconds after which a game counts as hanging; an answer takes under one, a start two, on an idle machine


def test_an_unfinished_first_episode_changes_neither_scale_nor_number_of_games(game, make, tmp_path):
    home = game()
    env = make("3m", workers=1)
    for seed in (1, 2, 3):  # nobody finishes these
        env.reset([seed])
        assert not env.step(np.array([[STOP] * 3]), np.ones(1, bool)).fault[0]
    env.reset([4])  # nor this one, which not even begins
    (episode,) = rollout(Rule("fight"), env, 0, [0], 1)
    assert (episode.return_, episode.faults) == (pytest.approx(20.0), 0)
    assert (home / "launches").read_text() == "1" and len(games(tmp_path)) == 1


@pytest.mark.parametrize("kind", ["crash", "kill", "hang", "garbage", "error"])
def test_a_broken_game_is_a_fault_of_its_episode_and_the_others_go_on(kind, game, make):
    count = 2 if kind == "hang" else 4  # each hang lasts HANG seconds
    game(faults={"every": 2, "kinds": [kind], "at": 3})
    env = make("3m", workers=2, timeout=HANG)
    found = rollout(Rule("fight"), env, 0, [0], count)
    assert len(found) == count and sum(e.faults for e in found) >= count - 1
    assert all(e.won and e.return_ == pytest.approx(20.0) and e.length == found[0].length for e in found)


@pytest.mark.parametrize("name", ["2s3z", "terran_5_vs_5"])
def test_an_episode_repeated_after_a_crash_is_scored_as_if_there_had_been_none(name, game, make):
    game(faults={"every": 2, "kinds": ["crash"], "at": 3})
    env = make(name, workers=1)
    (clean,), (found,) = (rollout(Rule("fight"), env, 0, [0], 1) for _ in range(2))
    assert (clean.faults, found.faults) == (0, 1)
    assert (found.won, found.length, found.extra) == (clean.won, clean.length, pytest.approx(clean.extra))


@pytest.mark.parametrize("kind", ["port", "exit", "hang"])
def test_a_game_that_does_not_start_is_a_fault_and_started_again(kind, game, make):
    game(launch={"1": kind})
    found = rollout(Rule("fight"), make("3m", workers=2, timeout=HANG), 0, [0], 2)
    assert [e.won for e in found] == [True, True] and sum(e.faults for e in found) == 1


def test_a_game_that_never_starts_ends_the_evaluation_with_the_cause(game, make):
    game(launch={str(n): "exit" for n in range(1, 20)})
    with pytest.raises(
        ServiceError, match=r"failed 4 times in episode 0 \(GameDied.* cannot start\); run `.* -m vgm2p doctor`"
    ):
        rollout(Rule("fight"), make("3m", workers=1), 0, [0], 1)


def test_a_game_that_ends_at_once_is_reported_with_its_last_line(game, make):
    """The words are those of the program loader, which names what it does not find; pysc2 alone would wait 90 s."""
    program = next(game().glob("Versions/*/SC2_x64"))
    program.write_text("#!/bin/sh\necho starting\necho $0: error while loading shared libraries: libGL >&2\nexit 127\n")
    env = make("3m", workers=1, timeout=60.0)
    env.reset([0])
    step = env.step(np.array([[STOP] * 3]), np.ones(1, bool))
    assert step.fault[0]
    assert step.info["cause"][0] == "GameDied: exit code 127: error while loading shared libraries: libGL"


def test_a_killed_game_and_one_that_does_not_answer_have_different_causes(game, make):
    for kind, cause in (("kill", "GameDied: exit code -9"), ("error", "GameDied: the game does not answer")):
        game(faults={"every": 1, "kinds": [kind], "at": 1})
        env = make("3m", workers=1)
        env.reset([0])
        assert env.step(np.array([[STOP] * 3]), np.ones(1, bool)).info["cause"][0] == cause


def test_the_game_of_a_dead_worker_ends_and_the_worker_is_replaced(game, make, tmp_path):
    game()
    env = make("3m", workers=2)
    killed = []

    def kill_once(step, ended, total):
        if step == 4 and not killed:
            killed.extend(worker.pid for worker in workers()[:1])
            os.kill(killed[0], signal.SIGKILL)

    found = rollout(Rule("fight"), env, 0, [0], 4, on_step=kill_once)
    assert killed and sum(e.faults for e in found) == 1 and all(e.won for e in found)
    assert len(games(tmp_path)) == 2


@slow
def test_a_hundred_episodes_with_a_fault_in_every_tenth(game, make, tmp_path):
    game(faults={"every": 10, "kinds": ["crash", "kill", "hang", "garbage", "error"], "at": 5})
    env = make("3m", workers=2, timeout=HANG)
    found = rollout(Rule("fight"), env, 0, [0], 100)
    assert [e.episode for e in found] == list(range(100))
    assert sum(e.faults for e in found) >= 10
    assert all(e.won and e.return_ == pytest.approx(20.0) for e in found)  # no fault is scored, none as a defeat
    env.close()
    assert games(tmp_path) == []


TRAINER = """
from vgm2p.execution.rollout import RandomActor, rollout
from vgm2p.envs.smac import SMACv1
env = SMACv1("3m", workers=2)
while True:
    rollout(RandomActor(env.spec), env, 0, [0], 4)
    print("played", flush=True)
"""


@pytest.mark.parametrize("with_workers", [False, True])
def test_no_game_outlives_a_killed_trainer(with_workers, game, tmp_path):
    """Also when the workers are killed in the same moment, and nobody is left to end the games."""
    home = game(delay=0.05)
    process = subprocess.Popen([sys.executable, "-c", TRAINER], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"played\n"
    assert len(games(home)) == 2
    victims = [process.pid] + [child.pid for child in psutil.Process(process.pid).children()] * with_workers
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    process.wait()  # the fixture finds no game left


def test_a_missing_map_is_reported_before_anything_starts(game):
    home = game()
    (home / "Maps/SMAC_Maps/3m.SC2Map").unlink()
    with pytest.raises(MissingInput, match=r"lacks 3m.SC2Map; run `make smac-maps SC2PATH="):
        SMACv1("3m")


def test_a_doctor_that_is_interrupted_leaves_no_game(game, tmp_path, monkeypatch):
    home = game()

    def interrupted(env, actions, active):
        assert len(games(home)) == 1
        raise KeyboardInterrupt

    monkeypatch.setattr(SMACv1, "step", interrupted)
    probe = next(probe for name, _, probe in checks(str(tmp_path)) if name == "smac game")
    with pytest.raises(KeyboardInterrupt) as held:  # its traceback keeps the environment from the garbage collector
        probe()
    assert held and games(home) == []
