"""What follows from whole episodes: returns from every step on, and ranks of episodes."""

import numpy as np
import pytest
import torch

from tests.datamodules.datasets import store_of
from tests.support import small_columns
from vgm2p.datamodules.store.transitions import TransitionStore
from vgm2p.errors import ConfigError
from vgm2p.rng import UpdateKey
from vgm2p.types import Needs

RETURN = Needs(frozenset(("return_to_go", "return_seen")))


RANK = Needs(frozenset(("episode_rank",)))


def test_the_return_to_go_is_that_of_a_walk_and_goes_on_at_its_rate_where_an_episode_was_cut(tmp_path):
    columns, gamma = small_columns(), 0.9
    store = store_of(tmp_path, columns)
    store.provide(RETURN, gamma)
    ended = store_of(tmp_path, columns, timeouts="terminal")
    ended.provide(RETURN, gamma)
    expected, over = [], []
    for start, length, end in zip(*(columns.episodes[k] for k in ("start", "length", "end")), strict=True):
        rewards = columns.steps["rewards"][start : start + length].astype(float)
        for t in range(length):
            weights = gamma ** np.arange(length - t)
            paid = (weights * rewards[t:]).sum()
            expected.append(paid if end == 0 else paid / weights.sum() / (1 - gamma))
            over.append(paid)
    key = UpdateKey([3]).at(5)
    found = store.draw(key, 100, RETURN).return_to_go
    index = key.integers("batch", (100,), len(expected))
    assert found.shape == (1, 100)
    np.testing.assert_allclose(found, np.array(expected)[index], rtol=1e-5)
    seen = store.draw(key, 100, RETURN).return_seen
    np.testing.assert_allclose(seen * store.draw(key, 100, RETURN).return_to_go, np.array(over)[index], rtol=1e-5)
    assert ended.draw(key, 100, RETURN).return_seen.eq(1).all() and seen.lt(1).any()
    found = ended.draw(key, 100, RETURN).return_to_go
    np.testing.assert_allclose(found, np.array(over)[index], rtol=1e-5)
    assert expected != over
    with pytest.raises(ConfigError, match="below 1"):
        store.provide(RETURN, 1.0)
    store.provide(RETURN, 0.0)
    now = store.draw(key, 100, RETURN)
    assert torch.equal(now.return_to_go, now.reward)


def test_the_rank_of_an_episode_counts_the_steps_of_those_that_return_as_much_or_less(tmp_path):
    columns = small_columns(lengths=(4, 7, 5, 4))
    columns.episodes["return"][:] = [2.0, -1.0, 2.0 + 1e-7, 7.0]
    store = TransitionStore.hold(columns, "raw_onehot", "none", "bootstrap")
    store.provide(RANK, 0.0)
    key = UpdateKey([1]).at(0)
    found = store.draw(key, 100, RANK).episode_rank
    expected = np.repeat(np.array([16, 7, 16, 20]) / 20, [4, 7, 5, 4])
    np.testing.assert_allclose(found, expected[key.integers("batch", (100,), 20)], rtol=1e-6)
    assert store.draw(key, 100).episode_rank is None
