"""The adapters for environments of PettingZoo and gymnasium: nothing is lost, and what they cannot know is refused."""

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from vgm2p.envs.gymnasium_vector import GymnasiumTeam
from vgm2p.envs.mujoco import MAMuJoCo
from vgm2p.envs.robotics import RoboticsMAMuJoCo
from vgm2p.errors import ConfigError, MissingInput, ServiceError

pytest.importorskip("pettingzoo")
from tests.envs.parallel_games import Walk
from vgm2p.envs.pettingzoo import PettingZoo

GAMES = "tests.envs.parallel_games"
ON = np.ones(1, bool)


def walk(limit=6, **kwargs):
    return PettingZoo(GAMES, limit, env_kwargs=kwargs)


@pytest.mark.parametrize("masks", ["info", "observation"])
def test_agents_that_leave_see_nothing_and_their_actions_are_not_used(masks):
    env = walk(masks=masks)
    first = env.reset([3])
    own = Walk(masks)
    seen, _ = own.reset(seed=3)
    for i, agent in enumerate("abc"):
        vector = seen[agent]["observation"] if masks == "observation" else seen[agent]
        assert np.array_equal(first.obs[0, i], np.pad(vector, (0, 5 - len(vector))))
    assert first.legal[0].tolist() == [[True] * 3 + [False], [True] * 2 + [False] * 2, [True] * 4]
    step = env.step(np.array([[1, 1, 1]]), ON)
    assert step.frame.legal[0].tolist() == [
        [False, True, True, False],
        [False, True, False, False],
        [False, *[True] * 3],
    ]
    _, rewards, *_ = own.step({"a": 2, "b": 2, "c": 2})
    assert step.reward[0] == pytest.approx(np.mean(list(rewards.values())))
    step = env.step(np.array([[1, 1, 1]]), ON)  # b leaves
    assert not (step.terminated[0] or step.truncated[0])
    assert not step.frame.obs[0, 1].any()
    assert step.frame.legal[0, 1].tolist() == [True, False, False, False]
    _, rewards, *_ = own.step({"a": 2, "b": 2, "c": 2})
    step = env.step(np.array([[1, 0, 1]]), ON)
    _, rewards, *_ = own.step({"a": 2, "c": 2})
    assert step.reward[0] == pytest.approx(np.mean([rewards["a"], rewards["c"]]))
    assert np.array_equal(step.frame.state[0], own.state())


def test_the_team_reward_can_be_the_sum():
    mean, total = walk(), PettingZoo(GAMES, 6, reward="sum")
    for env in (mean, total):
        env.reset([3])
    rewards = [env.step(np.array([[1, 1, 1]]), ON).reward[0] for env in (mean, total)]
    assert rewards[1] == pytest.approx(3 * rewards[0])


def test_an_episode_terminates_when_all_have_left_and_is_truncated_at_the_limit():
    env = walk(goal=2.0, quitter=None)
    env.reset([0])
    ends = []
    while not ends or not ends[-1].any():
        step = env.step(np.array([[2, 1, 3]]), ON)
        ends.append(step.terminated)
        assert not step.truncated.any()
    assert step.frame.obs[0, 1].any(), "the last observation of the last agent is lost"
    for cut in (None, 4):  # the environment itself does not cut, or cuts at the same step
        env = walk(limit=4, cut=cut)
        env.reset([0])
        found = [env.step(np.array([[1, 1, 1]]), ON) for _ in range(4)]
        assert [bool(step.truncated[0]) for step in found] == [False] * 3 + [True]
        assert not any(step.terminated[0] for step in found)


def test_an_environment_that_cuts_before_the_limit_is_refused_with_the_limit():
    env = walk(limit=6, cut=3)
    env.reset([0])
    for _ in range(2):
        env.step(np.array([[1, 1, 1]]), ON)
    with pytest.raises(ConfigError, match=r"after 3 steps, before env\.episode_limit=6; set env\.episode_limit=3"):
        env.step(np.array([[1, 0, 1]]), ON)


def test_continuous_actions_reach_the_bounds_of_the_box_and_no_further():
    env = walk(continuous=True)
    env.reset([0])
    inner = env._copies[0]
    for given, done in ((-1.0, [-1.0, 0.0]), (0.0, [0.0, 2.0]), (1.0, [1.0, 4.0]), (7.0, [1.0, 4.0])):
        env.reset([0])
        env.step(np.full((1, 3, 2), given, np.float32), ON)
        assert inner.last["a"].tolist() == done
        assert inner.last["a"].dtype == np.float32


def test_a_failure_of_the_environment_is_a_fault():
    env = walk()
    env.reset([0])
    env._copies[0].place = {}
    step = env.step(np.array([[1, 1, 1]]), ON)
    assert step.fault[0]
    assert "KeyError" in step.info["cause"][0]


SPACES = {
    "both kinds": ({"a": Discrete(2), "b": Box(-1, 1, (1,))}, "all agents need a Box, or all a Discrete"),
    "unequal widths": ({"a": Box(-1, 1, (1,)), "b": Box(-1, 1, (2,))}, r"\[1, 2, 2\] continuous actions"),
    "no bounds": ({"a": Box(-np.inf, 1, (1,)), "b": Box(-1, 1, (1,))}, "the actions of a have no finite bounds"),
    "another space": ({"a": MultiBinary(2), "b": MultiBinary(2)}, "MultiBinary"),
}


@pytest.mark.parametrize("what", SPACES)
def test_actions_that_are_not_supported_are_one_line(what, monkeypatch):
    spaces, says = SPACES[what]
    monkeypatch.setattr(Walk, "action_space", lambda self, agent: spaces.get(agent, spaces["b"]))
    with pytest.raises(ConfigError, match=says) as error:
        walk()
    assert len(error.value.line) <= 200


@pytest.mark.parametrize("space", [Box(0, 255, (8, 8, 3), np.uint8), Dict({"x": Box(0, 1, (2,))}), Discrete(3)])
def test_observations_that_are_not_supported_are_one_line(space, monkeypatch):
    monkeypatch.setattr(Walk, "observation_space", lambda self, agent: space)
    with pytest.raises(ConfigError, match=r"only .* supported: wrap the environment"):
        walk()


@pytest.mark.parametrize(
    ("module", "says"),
    [
        ("nosuch.module", "no module 'nosuch'"),
        ("json", "has no function parallel_env"),
        ("pettingzoo.test.example_envs.generated_agents_parallel_v0", "needs fixed possible_agents"),
    ],
)
def test_a_module_without_a_fixed_team_is_one_line(module, says):
    with pytest.raises(ConfigError, match=says) as error:
        PettingZoo(module, 5)
    assert len(error.value.line) <= 200


def test_other_refusals_are_one_line():
    with pytest.raises(ConfigError, match=r"use data\.view=native"):
        PettingZoo(GAMES, 5, view="omiga")
    with pytest.raises(ConfigError, match="unexpected keyword argument 'size'"):
        walk(size=3)
    env = walk(stuck=True)
    with pytest.raises(ConfigError, match="agent a has no legal action"):
        env.reset([0])


def test_a_package_that_a_module_needs_is_named(tmp_path, monkeypatch):
    (tmp_path / "needs.py").write_text("import nosuchpackage\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(MissingInput, match="needs the package nosuchpackage"):
        PettingZoo("needs", 5)


def same_episode(one, other, steps, seed=3):
    """Play the same random actions in two environments; what the agents see and get must agree."""
    rng = np.random.default_rng(0)
    frames = [env.reset([seed]) for env in (one, other)]
    for _ in range(steps):
        assert np.allclose(frames[0].obs, frames[1].obs, atol=1e-4)
        assert np.allclose(frames[0].state, frames[1].state, atol=1e-4)
        action = rng.uniform(-1, 1, (1, one.spec.n_agents, one.spec.action_dim)).astype(np.float32)
        found = [env.step(action, ON) for env in (one, other)]
        assert found[0].reward[0] == pytest.approx(found[1].reward[0], abs=1e-4)  # actions of another precision
        assert found[0].terminated[0] == found[1].terminated[0]
        frames = [step.frame for step in found]
        if found[0].terminated[0]:
            break


def test_a_real_parallel_environment_plays_as_our_own_adapter_for_it():
    pytest.importorskip("gymnasium_robotics")
    split = {"scenario": "Hopper", "agent_conf": "3x1"}
    one, other = PettingZoo("gymnasium_robotics.mamujoco_v1", 1000, env_kwargs=split), RoboticsMAMuJoCo(**split)
    assert (one.spec.obs_dim, one.spec.state_dim) == (other.spec.obs_dim, other.spec.state_dim)
    same_episode(one, other, 50)


@pytest.mark.parametrize("view", ["raw_onehot", "omiga"])
def test_a_robot_of_gymnasium_plays_as_our_own_adapter_for_it(view):
    one, other = GymnasiumTeam("Walker2d-v5", 2, view=view), MAMuJoCo("Walker2d-v5", 2, view)
    assert one.spec == other.spec
    same_episode(one, other, 50)


def test_a_split_of_action_and_observation_reaches_the_right_joints():
    split = {"action_split": [[3, 0], [1, 4], [5, 2]], "observation_split": [[0], [1, 2], [3, 4]]}
    env = GymnasiumTeam("HalfCheetah-v5", **split)
    robot = gymnasium.make("HalfCheetah-v5")
    frame, (seen, _) = env.reset([5]), robot.reset(seed=5)
    assert np.array_equal(frame.obs[0], np.array([[seen[0], 0], seen[1:3], seen[3:5]], np.float32))
    action = np.random.default_rng(0).uniform(-1, 1, (3, 2)).astype(np.float32)
    joint = np.array([action[0, 1], action[1, 0], action[2, 1], action[0, 0], action[1, 1], action[2, 0]])
    seen, reward, *_ = robot.step(joint)
    step = env.step(action[None], ON)
    assert step.reward[0] == reward
    assert np.array_equal(step.frame.state[0], seen.astype(np.float32))


class Dials(gymnasium.Env):
    """Two dials with 2 and 3 positions; the reward is their sum, the episode ends when both are at their last."""

    observation_space = Box(0, 3, (3,), np.float32)
    action_space = MultiDiscrete([2, 3])

    def __init__(self, render_mode=None):
        self.t = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.array([0, 0, self.np_random.uniform()], "f4"), {}

    def step(self, action):
        self.t += 1
        both = bool((action == [1, 2]).all())
        return np.array([*action, self.t], "f4"), float(action.sum()), both, False, {}


@pytest.fixture
def dials():
    """Two ids: one with gymnasium's own vector environment, one whose slots begin the next episode at once."""
    again = {"autoreset_mode": AutoresetMode.SAME_STEP}
    gymnasium.register("Dials-v0", Dials, max_episode_steps=4)
    gymnasium.register(
        "DialsAgain-v0",
        vector_entry_point=lambda num_envs, **_: SyncVectorEnv([Dials] * num_envs, **again),
        max_episode_steps=4,
    )
    yield ["Dials-v0", "DialsAgain-v0"]
    for name in ("Dials-v0", "DialsAgain-v0"):
        del gymnasium.registry[name]


def test_discrete_actions_and_last_observations_of_vector_environments(dials):
    for name in dials:
        env = GymnasiumTeam(name, 2)
        frame = env.reset([0])
        assert env.spec.discrete
        assert frame.legal[0].tolist() == [[True, True, False], [True] * 3]
        step = env.step(np.array([[1, 1]]), ON)
        assert (step.reward[0], step.terminated[0]) == (2.0, False)
        step = env.step(np.array([[1, 2]]), ON)
        assert (step.reward[0], step.terminated[0], step.truncated[0]) == (3.0, True, False)
        assert step.frame.state[0].tolist() == [1, 2, 2], "the final observation, not that of the next episode"
        env.reset([0])
        cuts = [bool(env.step(np.array([[0, 0]]), ON).truncated[0]) for _ in range(4)]
        assert cuts == [False] * 3 + [True]
        env.close()


def test_a_vector_environment_with_its_own_class_plays_as_the_single_one():
    env, single = GymnasiumTeam("CartPole-v1", 1), gymnasium.make("CartPole-v1")
    frame, (seen, _) = env.reset([7]), single.reset(seed=7)
    for action in (0, 1, 1, 0):
        assert np.allclose(frame.obs[0, 0], seen, atol=1e-6)
        frame, (seen, *_) = env.step(np.array([[action]]), ON).frame, single.step(action)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"env_id": "Nosuch-v1"}, "doesn't exist"),
        ({"env_id": "Hopper-v5"}, "who does which of the 3 actions"),
        ({"env_id": "Hopper-v5", "agents": 2}, "agents=2 cannot share the 3 actions equally"),
        ({"env_id": "Hopper-v5", "agents": 3, "view": "mine"}, "use data.view=native"),
        ({"env_id": "Hopper-v5", "agents": 3, "view": "omiga", "observation_split": [[0]] * 3}, "use data.view=native"),
        ({"env_id": "Hopper-v5", "agents": 3, "env_kwargs": {"size": 1}}, "size"),
        ({"env_id": "Dials-v0", "agents": 1}, "each agent needs exactly one"),
    ],
)
def test_a_team_that_does_not_fit_the_environment_is_one_line(words, says, dials):
    with pytest.raises(ConfigError, match=says) as error:
        GymnasiumTeam(**words)
    assert len(error.value.line) <= 200


def test_a_shorter_registered_limit_is_named_and_pictures_that_do_not_exist_are_one_line(dials):
    env = GymnasiumTeam("Dials-v0", 2, episode_limit=9)
    env.reset([0])
    for _ in range(3):
        env.step(np.array([[0, 0]]), ON)
    with pytest.raises(ConfigError, match=r"after 4 steps, before env\.episode_limit=9"):
        env.step(np.array([[0, 0]]), ON)
    with pytest.raises(ServiceError, match="remove video=true"):
        env.render()
