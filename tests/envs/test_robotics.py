"""The splits of gymnasium-robotics, found by scanning `conf/env/robotics`."""

import numpy as np
import pytest
from omegaconf import OmegaConf

from vgm2p.config.compose import config_folder
from vgm2p.envs.gymnasium_vector import GymnasiumTeam
from vgm2p.envs.mujoco import MAMuJoCo
from vgm2p.envs.robotics import RoboticsMAMuJoCo
from vgm2p.errors import ConfigError

CONFIGS = sorted((config_folder() / "env" / "robotics").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_split_has_the_agents_and_actuators_that_its_name_says(path):
    config = OmegaConf.load(path)
    env = RoboticsMAMuJoCo(config.scenario, config.agent_conf, config.agent_obsk)
    assert config.agent_conf == f"{env.spec.n_agents}x{env.spec.action_dim}"
    env.make(2)
    frame = env.reset([3, 4])
    assert not np.array_equal(frame.obs[0], frame.obs[1])
    env.close()


def test_the_cheetahs_joints_are_assigned_in_actuator_order():
    ours, theirs = MAMuJoCo("HalfCheetah-v5", 6, "raw_onehot"), RoboticsMAMuJoCo("HalfCheetah", "6x1")
    ours.reset([0])
    theirs.reset([0])
    rng = np.random.default_rng(0)
    for _ in range(5):
        action = rng.uniform(-1, 1, (1, 6, 1)).astype(np.float32)
        rewards = [env.step(action, np.ones(1, bool)).reward[0] for env in (ours, theirs)]
        assert rewards[0] == pytest.approx(rewards[1], abs=1e-5)


def parallel():
    pytest.importorskip("pettingzoo")
    from vgm2p.envs.pettingzoo import PettingZoo

    split = {"scenario": "HalfCheetah", "agent_conf": "6x1"}
    return PettingZoo("gymnasium_robotics.mamujoco_v1", 1000, env_kwargs=split)


ADAPTERS = {  # adapter -> how it is made, and its robot
    "mamujoco": (lambda: MAMuJoCo("HalfCheetah-v5", 6, "raw_onehot"), lambda copy: copy),
    "robotics": (lambda: RoboticsMAMuJoCo("HalfCheetah", "6x1"), lambda copy: copy.single_agent_env),
    "gymnasium": (lambda: GymnasiumTeam("HalfCheetah-v5", 6), lambda copy: copy.envs[0]),
    "pettingzoo": (parallel, lambda copy: copy.single_agent_env),
}


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_robot_that_mujoco_resets_silently_is_a_fault(adapter, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make, robot_of = ADAPTERS[adapter]
    env = make()
    for ahead in (20, 3):  # the second episode shows that a reset clears the fault
        env.reset([0])
        for _ in range(ahead):
            step = env.step(np.full((1, 6, 1), 0.5, np.float32), np.ones(1, bool))
            assert not step.fault[0]
        robot_of(env._copies[0]).unwrapped.data.qvel[3] = 1e11
        step = env.step(np.zeros((1, 6, 1), np.float32), np.ones(1, bool))
        assert (step.fault[0], step.info["cause"][0], step.reward[0]) == (True, "the physics diverged", 0.0)
    env.close()
    assert list(tmp_path.iterdir()) == [], "mujoco has written its log"


def test_an_unknown_split_is_named():
    with pytest.raises(ConfigError, match="HalfCheetah 5x1"):
        RoboticsMAMuJoCo("HalfCheetah", "5x1")
