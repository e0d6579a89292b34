"""`collect`: the recording is true, continues after a kill, and can be used for training."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.run.runs import program, succeeded
from vgm2p.commands.collect import components
from vgm2p.config.nodes import settings_of
from vgm2p.config.words import CollectSettings
from vgm2p.datamodules.layout.reading import read
from vgm2p.envs.base import Frame, Step
from vgm2p.envs.mujoco import MAMuJoCo
from vgm2p.errors import ConfigError
from vgm2p.execution.recorder import Recorder
from vgm2p.types import Spec

SMALL = (
    "net.width=8",
    "net.depth=1",
    "eval_episodes=1",
    "eval_every=20",
    "checkpoint_every=20",
    "updates=20",
    "compare=[]",
    "env.episode_limit=30",
)


@pytest.fixture(scope="module")
def collected(tmp_path_factory):
    folder = tmp_path_factory.mktemp("collect")
    succeeded(
        program(
            folder, "fit", *SMALL, "algo=bc_meanflow", "seeds=2", "out=run", "env.episode_limit=1000", "evaluate=none"
        )
    )
    done = succeeded(
        program(
            folder,
            "collect",
            "policy=[random,run]",
            "episodes=[3,21]",
            "noise=[0,0.3]",
            "env.episode_limit=1000",
            "env=mamujoco/6halfcheetah",
            "out=x.h5",
            "first_episode=7",
        )
    )
    return folder, done.stdout


def test_recorded_actions_replay_to_the_recorded_observations_and_rewards(collected):
    folder, said = collected
    columns = read(folder / "x.h5", verify="full")
    steps, episodes = columns.steps, columns.episodes
    assert "24 episodes" in said
    assert episodes["seed"].tolist() == [1_000_007 + i for i in range(24)]
    assert episodes["behaviour"].tolist() == [0] * 3 + [1] * 21
    env = MAMuJoCo("HalfCheetah-v5", 6, "raw_onehot")
    for episode in (0, 23):
        first, count = episodes["start"][episode], 60
        frame = env.reset([int(episodes["seed"][episode])])
        for t in range(count):
            assert np.array_equal(frame.state[0], steps["robot_observation"][first + t])
            result = env.step(steps["actions"][first + t][None], np.ones(1, bool))
            assert np.float32(result.reward[0]) == steps["rewards"][first + t]
            frame = result.frame
    assert (episodes["rows"] == 1001).all()
    assert np.abs(steps["actions"]).max() <= 1.0
    assert not (folder / ".x.parts").exists() and not list(folder.glob(".x.*"))


def test_what_was_collected_can_be_checked_trained_on_and_evaluated(collected):
    folder, _ = collected
    assert program(folder, "data", "check", "x.h5").returncode == 0
    shown = program(folder, "data", "show", "x.h5").stdout
    assert "random x3, run noise 0.3 x21" in shown
    done = succeeded(
        program(
            folder,
            "fit",
            *SMALL,
            "data=files",
            "data.source.paths=[x.h5]",
            "env.episode_limit=1000",
            "algo=bc_gaussian",
            "out=again",
        )
    )
    assert "24 episodes, 24000 transitions" in done.stdout
    succeeded(program(folder, "evaluate", "run=again", "episodes=1"))


def test_a_killed_collection_goes_on_and_ends_with_the_same_file(collected):
    folder, _ = collected
    words = ("collect", "policy=random", "episodes=60", "env=mamujoco/3hopper")
    process = subprocess.Popen(
        [sys.executable, "-m", "vgm2p", *words, "out=k.h5"], cwd=folder, stdout=subprocess.PIPE, text=True
    )
    for line in process.stdout:
        if line.startswith("random: episodes"):
            break
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    parts = list(folder.glob(".k.*.parts/*.h5"))
    assert parts and not (folder / "k.h5").exists()
    held = {path: path.stat().st_mtime_ns for path in parts}
    time.sleep(0.01)
    assert program(folder, *words, "out=k.h5").returncode == 0
    assert program(folder, *words, "out=whole.h5", "name=k").returncode == 0
    assert (folder / "k.h5").read_bytes() == (folder / "whole.h5").read_bytes()
    assert held
    assert "exists" in program(folder, *words, "out=k.h5").stderr


ONE = {"env": {}, "policy": "random", "noise": 0.1, "episodes": 4, "first_episode": 0, "name": None, "out": "x.h5"}


def mixture(**changes):
    return components(settings_of({**ONE, "data": {"view": "raw_onehot"}, **changes}, CollectSettings))


def test_mixtures_need_as_many_numbers_as_policies():
    assert [(c.policy, c.noise, c.episodes) for c in mixture()] == [("random", 0.1, 4)]
    assert [c.episodes for c in mixture(policy=["random", "a"], episodes=[1, 2])] == [1, 2]
    for wrong in (
        {"episodes": [1, 2]},
        {"noise": -1},
        {"noise": [-1]},
        {"episodes": 0},
        {"noise": "much"},
        {"episodes": True},
        {"out": None},
        {"out": "x.hdf5"},
        {"first_episode": -1},
    ):
        with pytest.raises(ConfigError):
            mixture(**wrong)


class Failing:
    """Two slots; slot 1 fails in its second step."""

    spec, versions, max_active = Spec(1, 1, 1, False, None, 9, "native", "failing"), {}, None

    def make(self, n):
        self.t = 0

    def reset(self, seeds):
        return self.frame()

    def frame(self):
        return Frame(np.full((2, 1, 1), self.t, np.float32), None, None)

    def step(self, actions, active):
        self.t += 1
        end, fault = self.t == 3, np.array([False, self.t == 2])
        return Step(self.frame(), np.ones(2) * active, np.array([end, False]), np.zeros(2, bool), fault & active)


def test_a_failed_episode_leaves_no_tape():
    recorder = Recorder(Failing())
    recorder.make(2)
    recorder.reset([11, 12])
    active = np.ones(2, bool)
    for _ in range(3):
        result = recorder.step(np.zeros((2, 1, 1), np.float32), active)
        active &= ~(result.terminated | result.fault)
    assert list(recorder.episodes) == [11]
    tape = recorder.episodes[11]
    assert ([int(o[0, 0]) for o in tape.obs], len(tape.actions), tape.terminated) == ([0, 1, 2, 3], 3, True)
