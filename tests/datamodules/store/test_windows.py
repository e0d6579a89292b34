"""Windows around drawn rows, against a walk through the episodes."""

import numpy as np
import pytest
import torch

from tests.datamodules.datasets import CASES, discrete_columns, without_finals
from tests.datamodules.equivalence import assert_same, both
from tests.support import small_columns
from vgm2p.datamodules.store.transitions import TransitionStore
from vgm2p.rng import StaticKey, UpdateKey
from vgm2p.types import Needs

KINDS = {
    "final observations stored": small_columns,
    "none stored": lambda: without_finals(small_columns()),
    "discrete": discrete_columns,
    "discrete, none stored": lambda: without_finals(discrete_columns()),
}


def key():
    return UpdateKey([3, 4]).at(5)


def held(columns):
    return TransitionStore.hold(columns, "raw_onehot", "none", "terminal")


def walked(columns, row, history, ahead):
    """Return (row, inside the episode) of every step of the window around `row`."""
    steps = []
    for start, rows in zip(columns.episodes["start"], columns.episodes["rows"], strict=True):
        if start <= row < start + rows:
            for step in range(row - history + 1, row + ahead + 1):
                nearest = max(start, min(step, start + rows - 1))
                steps.append((int(nearest), nearest == step))
    return steps


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("history", "ahead"), [(1, 1), (3, 2), (1, 9), (9, 1), (4, 4)])
def test_a_window_is_that_of_a_walk_through_the_episodes(kind, history, ahead):
    columns = KINDS[kind]()
    columns.steps["actions"][columns.steps["has_action"] == 0] = 7  # a row without an action may hold anything
    needs = Needs(frozenset(("next_action",)), history, ahead)
    store = held(columns)
    store.provide(needs, 0.0)
    batch, plain = store.draw(key(), 50, needs), store.draw(key(), 50)
    for name in ("obs", "action", "reward", "next_obs", "bootstrap", "legal", "next_legal"):
        one, two = getattr(batch, name), getattr(plain, name)
        assert one is two is None or (torch.equal(one, two) and one.dtype == two.dtype), name
    assert batch.past_obs is batch.past_action is batch.past_seen is None
    seen = agents_view(columns)
    index, acts = key().integers("batch", (50,), 16), columns.steps["has_action"].astype(bool)
    for s, b in np.ndindex(2, 50):
        row = np.flatnonzero(acts)[index[s, b]]
        expected = walked(columns, row, history, ahead)
        assert batch.window_real[s, b].tolist() == [float(real) for _, real in expected]
        for step, (found, _) in enumerate(expected):
            np.testing.assert_array_equal(batch.window_obs[s, b, step], seen[found])
            done = columns.steps["actions"][found] * acts[found]
            np.testing.assert_array_equal(batch.window_action[s, b, step], done)
            if store.spec.discrete:
                legal = columns.steps["legal_actions"][found]
                np.testing.assert_array_equal(batch.window_legal[s, b, step], legal.astype(bool))
        np.testing.assert_array_equal(batch.next_action[s, b], batch.window_action[s, b, history])


def agents_view(columns):
    robot = columns.steps["robot_observation"]
    both_agents = np.repeat(robot[:, None], 2, 1)
    return np.concatenate([both_agents, np.broadcast_to(np.eye(2, dtype=np.float32), (len(robot), 2, 2))], -1)


def test_a_pair_of_true_observations_at_the_end_of_an_episode_counts():
    """Of an episode of T steps with its final observation, T pairs are true; without it, T - 1."""
    for columns, missing in ((small_columns(), 0), (without_finals(small_columns()), 1)):
        needs = Needs(ahead=20)
        store = held(columns)
        store.provide(needs, 0.0)
        batch = store.draw(key(), 400, needs)
        first = batch.obs[..., 0, :3].flatten(0, 1).numpy()
        pairs = (batch.window_real[..., 1:] * batch.window_real[..., :-1]).sum(-1).flatten()
        for start, length in zip(columns.episodes["start"], columns.episodes["length"], strict=True):
            begun = (first == columns.steps["robot_observation"][start]).all(-1)
            assert begun.any()
            assert set(pairs[begun].tolist()) == {float(length - missing)}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("best", [False, True])
def test_windows_of_mapped_data_are_those_of_resident_data(name, best, tmp_path):
    make, options = CASES[name]
    stores = both(tmp_path, [make()], **options)
    assert_same(*(store.best_episodes(0.5) if best else store for store in stores), history=3, ahead=4)


@pytest.mark.parametrize("at_once", [1, 100, 2048])
def test_windows_gathered_together_are_those_of_their_updates(at_once, monkeypatch):
    monkeypatch.setattr("vgm2p.datamodules.store.transitions.ROWS_AT_ONCE", at_once)
    store, key, static = held(small_columns()), UpdateKey([3, 4]), StaticKey([3, 4], "cpu")
    needs = Needs(history=2, ahead=3)
    store.provide(needs, 0.9)
    for update in [*range(60, 70), 62, 200, 0, 130]:
        together, alone = store.draw(key.at(update), 20, needs), store.draw(static.at(update), 20, needs)
        for name, value in vars(alone).items():
            found = vars(together)[name]
            assert value is found is None or torch.equal(value, found), name


def test_the_rows_gathered_together_are_bounded_whatever_the_window():
    """2048 windows of 24 steps of ten agents with 162 numbers each would take 764 MB."""
    store = held(small_columns())
    for needs in (Needs(), Needs(history=4), Needs(history=4, ahead=20)):
        store.provide(needs, 0.9)
        batch = store.draw(UpdateKey([0]).at(0), 16, needs)
        largest = batch.obs if batch.window_obs is None else batch.window_obs
        row = 2 * 5 * 4  # bytes of a row of this data: agents, features, float32
        assert largest.untyped_storage().nbytes() <= 2 * 2048 * row
