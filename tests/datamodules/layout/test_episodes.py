"""The builder of the step table and the episode table."""

import numpy as np

from vgm2p.datamodules.layout.episodes import Episodes, figures
from vgm2p.datamodules.layout.rules import EPISODE_TYPES, STEP_TYPES
from vgm2p.datamodules.layout.schema import INCOMPLETE, TERMINAL, TIMEOUT, TRUNCATION


def lists(table, *names):
    return [table[name].tolist() for name in names]


def test_tables_with_final_observations():
    episodes = Episodes(np.array([2, 1, 0, 1]), np.array([TERMINAL, TIMEOUT, TERMINAL, TRUNCATION]), finals=True)
    rewards = episodes.spread(np.array([1.0, 2.0, 4.0, 8.0], np.float32))
    columns = episodes.columns({"rewards": rewards}, {"name": "x"}, {"seed": np.arange(4)})
    assert lists(columns.steps, "rewards", "has_action", "t", "terminal", "timeout") == [
        [1, 2, 0, 4, 0, 0, 8, 0],
        [1, 1, 0, 1, 0, 0, 1, 0],
        [0, 1, 2, 0, 1, 0, 0, 1],
        [0, 1, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 1, 0, 0, 1, 0],
    ]
    assert lists(columns.episodes, "start", "rows", "length", "return", "end", "seed") == [
        [0, 3, 5, 6],
        [3, 2, 1, 2],
        [2, 1, 0, 1],
        [3, 4, 0, 8],
        [TERMINAL, TIMEOUT, TERMINAL, TRUNCATION],
        [0, 1, 2, 3],
    ]
    assert columns.attributes == {"name": "x"}


def test_tables_without_final_observations():
    episodes = Episodes(np.array([2, 3]), np.array([INCOMPLETE, TERMINAL]), finals=False)
    columns = episodes.columns({"rewards": np.ones(5, np.float32)}, {})
    assert lists(columns.steps, "has_action", "t", "terminal", "timeout") == [
        [1, 1, 1, 1, 1],
        [0, 1, 0, 1, 2],
        [0, 0, 0, 0, 1],
        [0, 0, 0, 0, 0],
    ]
    assert lists(columns.episodes, "start", "rows", "length") == [[0, 2], [2, 3], [2, 3]]
    assert figures(columns.episodes)["episodes"] == 1
    assert figures(columns.episodes)["return_mean"] == 3.0


def test_the_types_are_those_of_the_layout():
    episodes = Episodes(np.array([2, 1]), np.array([TERMINAL, TIMEOUT]), finals=True)
    columns = episodes.columns({"rewards": np.zeros(5, np.float32)}, {})
    assert {name: array.dtype.str for name, array in columns.steps.items()} == STEP_TYPES
    assert {name: array.dtype.str for name, array in columns.episodes.items()} == EPISODE_TYPES


def test_final_observations_take_their_own_rows():
    episodes = Episodes(np.array([1, 2]), np.array([TERMINAL, TERMINAL]), finals=True)
    values = np.array([[1.0, 1.5], [2.0, 2.5], [3.0, 3.5]])
    column = episodes.spread(values, np.array([[-1.0, -1.5], [-3.0, -3.5]]))
    assert column[:, 0].tolist() == [1, -1, 2, 3, -3]
    assert column[:, 1].tolist() == [1.5, -1.5, 2.5, 3.5, -3.5]
