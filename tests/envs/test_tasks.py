"""What makes a task another one stands in its Spec, so that data and policies of another task are refused."""

import pytest

from vgm2p.envs.gymnasium_vector import GymnasiumTeam


def test_a_split_that_is_not_the_default_belongs_to_the_task():
    parts = {"action_split": [[0, 1, 2], [3, 4, 5]]}
    walker = [GymnasiumTeam("Walker2d-v5", **words).spec for words in ({"agents": 2}, parts)]
    assert walker[0] == walker[1] and walker[0].env_kwargs == {}
    crossed = GymnasiumTeam("Walker2d-v5", action_split=[[0, 2, 4], [5, 3, 1]]).spec
    assert crossed.differences(walker[0]) == [
        'env_kwargs: {"action_split": [[0, 2, 4], [5, 3, 1]]} != {}',
    ]
    everything = GymnasiumTeam("Walker2d-v5", 2, observation_split=[list(range(17))] * 2).spec
    assert everything == walker[0]
    seen = [GymnasiumTeam("Walker2d-v5", 2, observation_split=split).spec for split in ([[0], [1]], [[1], [0]])]
    assert len(seen[0].differences(seen[1])) == 1


def test_a_team_reward_that_is_not_the_default_belongs_to_the_task():
    pytest.importorskip("pettingzoo")
    from vgm2p.envs.pettingzoo import PettingZoo

    games = {"module": "tests.envs.parallel_games", "episode_limit": 6, "env_kwargs": {"goal": 2.0}}
    mean, total = PettingZoo(**games).spec, PettingZoo(**games, reward="sum").spec
    assert mean.differences(total) == ['env_kwargs: {"goal": 2.0} != {"goal": 2.0, "reward": "sum"}']
