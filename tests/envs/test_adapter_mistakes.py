"""What an environment of PettingZoo does against its own spaces is named, and never padded, paid or cut in silence."""

import numpy as np
import pytest

from vgm2p.errors import ConfigError

pytest.importorskip("pettingzoo")
from tests.envs.parallel_games import Walk
from vgm2p.envs.pettingzoo import PettingZoo

ON = np.ones(1, bool)


def walk(limit=6, **kwargs):
    return PettingZoo("tests.envs.parallel_games", limit, env_kwargs=kwargs)


def test_rewards_of_agents_that_have_left_do_not_count(monkeypatch):
    plain = Walk.step

    def paid(self, actions):
        seen, rewards, *rest = plain(self, actions)
        return seen, {"a": 0.0, "b": 0.0, "c": 0.0} | rewards, *rest

    found = []
    for step in (plain, paid):
        monkeypatch.setattr(Walk, "step", step)
        env = walk()
        env.reset([3])
        found.append([env.step(np.array([[1, 1, 1]]), ON).reward[0] for _ in range(4)])  # b leaves after two steps
    assert found[0] == found[1]


def test_an_observation_of_another_width_is_named(monkeypatch):
    env = walk()
    env.reset([0])
    env._copies[0].widths = {"a": 3, "b": 4, "c": 4}
    monkeypatch.setattr(Walk, "observation_space", None)
    with pytest.raises(ConfigError, match="agent b sees 4 numbers, its observation_space has 5; correct one"):
        env.step(np.array([[1, 1, 1]]), ON)


def test_a_mask_of_another_length_is_named(monkeypatch):
    monkeypatch.setattr(Walk, "mask", lambda self, agent: np.ones(2, np.int8))
    with pytest.raises(ConfigError, match="an action mask of agent 0 has 2 entries for 3 actions; correct it"):
        walk().reset([0])


@pytest.mark.parametrize("limit", [4, 6])
def test_a_task_that_ends_in_the_step_of_the_cut_is_terminated(limit):
    """All walk beyond the goal in step 4, in which the environment also cuts them."""
    env = walk(limit, goal=4.0, cut=4, quitter=None)
    env.reset([0])
    found = [env.step(np.array([[1, 1, 1]]), ON) for _ in range(4)]
    assert [(bool(step.terminated[0]), bool(step.truncated[0])) for step in found] == [(False, False)] * 3 + [
        (True, False)
    ]


def test_an_agent_that_is_cut_while_the_others_end_is_truncated():
    env = walk(4, goal=4.0, cut=4, quitter=None)
    env.reset([0])
    for _ in range(4):
        step = env.step(np.array([[1, 0, 1]]), ON)  # b stays at its place
    assert (step.terminated[0], step.truncated[0]) == (False, True)
