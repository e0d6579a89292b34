"""The splits of gymnasium-robotics, found by scanning `conf/env/robotics`."""

from pathlib import Path

import gymnasium
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


BOUNDED = {  # robot whose bounds are not 1 -> how it is made, and the bound
    "mamujoco": (lambda: MAMuJoCo("Humanoid-v5", 17, "raw_onehot"), "Humanoid-v5", 0.4),
    "gymnasium": (lambda: GymnasiumTeam("Humanoid-v5", 17), "Humanoid-v5", 0.4),
    "robotics": (lambda: RoboticsMAMuJoCo("InvertedPendulum", None), "InvertedPendulum-v5", 3.0),
}


@pytest.mark.parametrize("adapter", BOUNDED)
def test_actions_reach_the_bounds_of_the_actuators_and_no_further(adapter):
    make, env_id, bound = BOUNDED[adapter]
    env, bare = make(), gymnasium.make(env_id)
    env.reset([0])
    bare.reset(seed=0)
    rng, shape = np.random.default_rng(0), (1, env.spec.n_agents, env.spec.action_dim)
    for _ in range(3):
        action = rng.uniform(-1.5, 1.5, shape).astype(np.float32)
        step = env.step(action, np.ones(1, bool))
        seen, reward, *_ = bare.step(bound * action.clip(-1, 1).reshape(-1))
        assert step.reward[0] == pytest.approx(reward, abs=1e-4)
        assert np.allclose(step.frame.state[0, :4], seen[:4], atol=1e-4)


def test_a_robot_whose_actuators_have_no_bounds_is_named(tmp_path):
    path = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets" / "half_cheetah.xml"
    model = tmp_path / "free.xml"
    model.write_text(path.read_text().replace('ctrllimited="true"', "").replace('ctrlrange="-1 1"', ""))
    with pytest.raises(ConfigError, match="the actions of the robot have no finite bounds"):
        MAMuJoCo("HalfCheetah-v5", 6, "raw_onehot", env_kwargs={"xml_file": str(model)})


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
