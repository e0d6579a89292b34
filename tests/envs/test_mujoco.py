"""MA-MuJoCo against the recordings and against the bare robots of gymnasium."""

import os
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from tests.run.runs import environment
from tests.support import RECORDED
from vgm2p.datamodules.layout.reading import read
from vgm2p.datamodules.layout.schema import Columns
from vgm2p.datamodules.sources.recorded import Bundled
from vgm2p.datamodules.sources.recording import columns_of, read_recording
from vgm2p.envs.mujoco import MAMuJoCo
from vgm2p.errors import ConfigError

NAMES = sorted(path.stem for path in RECORDED.glob("*.hdf5"))
ROBOTS = {"HalfCheetah-v5": 6, "Hopper-v5": 3}


def replay(columns: Columns, episode: int) -> float:
    """Play an episode's stored actions from its seed; return the largest difference to what is stored."""
    env_id = columns.attributes["env_id"]
    env = MAMuJoCo(env_id, ROBOTS[env_id], "raw_onehot")
    start, length = columns.episodes["start"][episode], columns.episodes["length"][episode]
    stored = columns.steps["robot_observation"][start : start + length + 1]
    frame = env.reset([int(columns.episodes["seed"][episode])])
    worst = np.abs(frame.state[0] - stored[0]).max()
    for t in range(length):
        step = env.step(columns.steps["actions"][start + t][None], np.ones(1, bool))
        worst = max(worst, abs(step.reward[0] - columns.steps["rewards"][start + t]))
        worst = max(worst, np.abs(step.frame.state[0] - stored[t + 1]).max())
        last = t == length - 1
        assert step.terminated[0] == (last and columns.episodes["end"][episode] == 0)
        assert step.truncated[0] == (last and columns.episodes["end"][episode] == 1)
    env.close()
    return float(worst)


def recorded(path: Path) -> Columns:
    return columns_of(*read_recording(path), "")


@pytest.mark.parametrize("name", NAMES)
def test_recorded_episodes_are_reproduced(name):
    columns = recorded(RECORDED / f"{name}.hdf5")
    for episode in range(3):
        assert replay(columns, episode) < 1e-5


def test_bundled_episodes_are_reproduced():
    columns = read(Bundled().resolve()[0])
    for episode in (0, 24, 49):
        assert replay(columns, episode) < 1e-5


@pytest.mark.slow
@pytest.mark.recordings
def test_every_recording_is_reproduced():
    root = os.environ.get("VGM2P_DATA")
    paths = sorted(Path(root).rglob("*.hdf5")) if root else []
    if not paths:
        pytest.skip("set VGM2P_DATA to the folder of the recordings")
    for path in paths:
        columns = recorded(path)
        count = len(columns.episodes["start"])
        for episode in sorted({0, count // 3, count // 2, count - 1}):
            assert replay(columns, episode) < 1e-5, (path, episode)


def two(env_id="HalfCheetah-v5", agents=6, **options):
    env, bare = MAMuJoCo(env_id, agents, "raw_onehot", **options), gymnasium.make(env_id).unwrapped
    frame, (observation, _) = env.reset([5]), bare.reset(seed=5)
    return env, bare, frame, observation


@pytest.mark.parametrize(("env_id", "agents"), [("HalfCheetah-v5", 6), ("Hopper-v5", 3), ("Ant-v5", 2), ("Ant-v5", 4)])
def test_the_joint_action_is_the_agents_actions_in_agent_order(env_id, agents):
    env, bare, _frame, observation = two(env_id, agents)
    rng = np.random.default_rng(0)
    for _ in range(5):
        width = env.spec.action_dim
        action = rng.uniform(-1, 1, (1, agents, width)).astype(np.float32)
        step = env.step(action, np.ones(1, bool))
        joint = [action[0, i, a] for i in range(agents) for a in range(width)]
        observation, reward, _, _, _ = bare.step(np.array(joint, np.float64))
        assert step.reward[0] == pytest.approx(reward, abs=1e-12)
        np.testing.assert_array_equal(step.frame.state[0], observation.astype(np.float32))


def test_every_agent_sees_the_robot_and_its_own_number():
    _env, _, frame, observation = two()
    assert frame.obs.shape == (1, 6, 23)
    for i in range(6):
        np.testing.assert_array_equal(frame.obs[0, i, :17], observation.astype(np.float32))
        np.testing.assert_array_equal(frame.obs[0, i, 17:], np.eye(6)[i])


def test_actions_are_clipped_not_refused():
    results = []
    for scale in (1.0, 50.0):
        env, *_ = two()
        results.append(env.step(np.full((1, 6, 1), scale, np.float32), np.ones(1, bool)).reward[0])
    assert results[0] == results[1]


def test_the_hopper_of_v4_pays_the_alive_bonus_on_the_falling_step_and_v5_does_not():
    last = {}
    for env_id in ("Hopper-v4", "Hopper-v5"):
        env = MAMuJoCo(env_id, 3, "raw_onehot")
        env.reset([1])
        terminated = False
        while not terminated:
            step = env.step(np.ones((1, 3, 1), np.float32), np.ones(1, bool))
            terminated = step.terminated[0]
        last[env_id] = step.reward[0]
    assert last["Hopper-v4"] - last["Hopper-v5"] == pytest.approx(1.0, abs=1e-6)


def test_omigas_ant_is_padded_with_zeros():
    env = MAMuJoCo("Ant-v4", 2, "raw_onehot", obs_width=111)
    frame = env.reset([0])
    assert env.spec.obs_dim == 113
    assert (frame.obs[0, :, 27:111] == 0).all()
    assert (frame.obs[0, :, :27] != 0).any()


def test_a_fall_at_the_limit_is_terminated_not_truncated():
    env = MAMuJoCo("Hopper-v5", 3, "raw_onehot")
    env.reset([1])
    length = 1
    while not env.step(np.ones((1, 3, 1), np.float32), np.ones(1, bool)).terminated[0]:
        length += 1
    env = MAMuJoCo("Hopper-v5", 3, "raw_onehot", episode_limit=length)
    env.reset([1])
    for _ in range(length):
        step = env.step(np.ones((1, 3, 1), np.float32), np.ones(1, bool))
    assert (step.terminated[0], step.truncated[0]) == (True, False)


DIVERGED = "the physics diverged"


@pytest.mark.parametrize(
    ("breakage", "cause"), [("raises", "RuntimeError: simulator died"), ("nan", DIVERGED), ("diverges", DIVERGED)]
)
def test_a_broken_simulator_is_a_fault_of_its_row_alone(breakage, cause):
    env = MAMuJoCo("HalfCheetah-v5", 6, "raw_onehot")
    env.make(2)
    env.reset([0, 1])
    robot = env._copies[1]
    if breakage == "diverges":  # MuJoCo warns, resets the robot and goes on as if nothing had happened
        robot.data.qvel[:] = 1e12
    else:
        real = robot.step

        def broken(action):
            if breakage == "raises":
                raise RuntimeError("simulator died")
            observation, _, *rest = real(action)
            return observation, float("nan"), *rest

        robot.step = broken
    step = env.step(np.zeros((2, 6, 1), np.float32), np.ones(2, bool))
    assert step.fault.tolist() == [False, True]
    assert step.info["cause"].tolist() == ["", cause]
    assert step.reward[1] == 0.0
    assert not step.terminated[1]
    assert np.isfinite(step.frame.obs).all()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"env_id": "HalfCheta-v5", "n_agents": 6}, "HalfCheta"),
        ({"env_id": "HalfCheetah-v5", "n_agents": 4}, "6 actuators"),
        ({"env_id": "HalfCheetah-v5", "n_agents": 6, "env_kwargs": {"nonsense": 1}}, "nonsense"),
    ],
)
def test_a_robot_that_cannot_be_made_is_named(options, says):
    with pytest.raises(ConfigError, match=says):
        MAMuJoCo(view="raw_onehot", **options)


def test_the_logger_of_gymnasium_keeps_its_level():
    before = gymnasium.logger.min_level
    MAMuJoCo("HalfCheetah-v4", 6, "raw_onehot").close()
    with pytest.raises(ConfigError):
        MAMuJoCo("Nothing-v9", 6, "raw_onehot")
    assert gymnasium.logger.min_level == before


def test_a_picture_is_drawn_without_a_display():
    env = MAMuJoCo("HalfCheetah-v5", 6, "raw_onehot")
    env.reset([0])
    picture = env.render()
    assert picture.shape == (360, 480, 3)
    assert picture.std() > 1


def test_a_picture_far_from_the_start_shows_robot_and_floor():
    env = MAMuJoCo("HalfCheetah-v5", 6, "raw_onehot")
    env.reset([0])
    near = env.render()
    robot = env._copies[0].unwrapped
    sizes = robot.model.geom_size.copy()
    robot.data.qpos[0] += 8 * 20  # in whole squares of the floor, which ends after 40 m in gymnasium's model
    robot.set_state(robot.data.qpos, robot.data.qvel)
    for _ in range(3):  # the camera follows smoothly
        far = env.render()
    bright = [(picture.mean(-1) > 128).mean() for picture in (near, far)]
    assert bright[1] > 0.8 * bright[0] > 0.1
    np.testing.assert_array_equal(robot.model.geom_size, sizes)


def test_importing_the_program_starts_no_simulator():
    code = (
        "import sys, vgm2p.cli, vgm2p.commands.fit, vgm2p.commands.evaluate, vgm2p.envs.mujoco, vgm2p.envs.robotics; "
        "print([m for m in ('mujoco', 'gymnasium', 'gymnasium_robotics', 'smacv2', 'jax') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
