"""Fitted Q evaluation against closed forms: two agents, discounts, ends of both kinds, masks, seeds, memory."""

import numpy as np
import pytest
import torch

from tests.execution.chains import FORBIDDEN, STATES, Tables, chain, exact, held_in_memory, settings
from tests.strangers.planner import Planner
from tests.support import small_columns
from vgm2p.algos.bc_gaussian import BCGaussian
from vgm2p.datamodules.store.gather import gather
from vgm2p.datamodules.store.transitions import TransitionStore
from vgm2p.errors import ConfigError
from vgm2p.execution.estimate import estimate, evidence
from vgm2p.execution.replay import replay
from vgm2p.groups import Net
from vgm2p.rng import UpdateKey
from vgm2p.types import Acting, Needs

CERTAIN = np.array([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])  # agent, state -> chance of action 1
LAZY = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
RANDOM = np.full((2, STATES), 0.5)


def values_by_state(store, tables, words=()):
    """Return the estimate for every seed and first state, (S, states)."""
    asked = settings(*words)
    found = evidence(store, asked)
    values = estimate(Tables(store.spec, tables), store, found, asked)
    first = (
        store.rows.observations(torch.from_numpy(store.dataset.episodes["start"][found.held]))[:, 0].argmax(-1).numpy()
    )
    assert np.isfinite(values.drift).all()
    means = values.table.mean(1)
    return np.stack([means[:, first == state].mean(-1) for state in range(STATES)], -1)


@pytest.mark.parametrize("ends", [True, False], ids=["terminal", "time limit"])
def test_the_estimate_is_the_value_in_closed_form_for_every_seed(ends):
    tables = np.stack([CERTAIN, LAZY, RANDOM])
    seen = values_by_state(held_in_memory(chain(ends)), tables)
    for s, table in enumerate(tables):
        np.testing.assert_allclose(seen[s], exact(table, ends), atol=0.35, err_msg=str(table))


def test_a_policy_that_is_the_data_s_has_the_data_s_value():
    store, asked = held_in_memory(chain(True, 300)), settings()
    found = evidence(store, asked)
    values = estimate(Tables(store.spec, RANDOM[None]), store, found, asked).table
    recorded = found.values[found.held]
    assert values.mean() == pytest.approx(recorded.mean(), abs=2 * recorded.std() / np.sqrt(len(recorded)))


def test_illegal_actions_are_neither_taken_nor_valued():
    agent, state, action = FORBIDDEN
    columns = chain(False, masked=True)
    store = held_in_memory(columns)
    policy = Tables(store.spec, CERTAIN[None])  # it would take the forbidden action
    actions = replay(policy, store, UpdateKey([0]), 2)
    legal = torch.from_numpy(columns.steps["legal_actions"]).bool()
    assert legal[None, :, None].expand(*actions.shape, 2).gather(-1, actions.long().unsqueeze(-1)).all()
    allowed = CERTAIN.copy()
    allowed[agent, state] = 1 - action
    np.testing.assert_allclose(values_by_state(store, CERTAIN[None])[0], exact(allowed, False), atol=0.35)


def test_the_split_is_the_same_for_everybody_and_critics_never_learn_from_what_is_held_out():
    store = held_in_memory(chain(True, 40))
    one, two = evidence(store, settings("share=0.25")), evidence(store, settings("share=0.25"))
    assert one.held.tolist() == two.held.tolist() and len(one.held) == 10
    assert np.array_equal(one.counts, two.counts)
    assert not one.counts[:, one.held].any()
    assert one.counts.sum(1).tolist() == [30.0] * 2
    assert not np.array_equal(one.counts[0], one.counts[1])
    assert evidence(store, settings("share=0.25", "seed=1")).held.tolist() != one.held.tolist()
    with pytest.raises(ConfigError, match="two or more"):
        evidence(held_in_memory(chain(True, 1)), settings())


def test_numbers_of_the_data_follow_their_ends():
    found = evidence(held_in_memory(chain(False, 20, limit=8)), settings())
    assert found.factor == pytest.approx(8 * 0.1)  # cut at the limit, so that ten discounted steps go on
    assert found.support == pytest.approx((-15.0, 30.0))  # rewards from -1.5 to 3
    ended = evidence(held_in_memory(chain(True, 20, limit=100)), settings())
    assert ended.factor > 1.0
    assert ended.best == pytest.approx(np.max(ended.values))


def test_seeds_together_are_seeds_alone():
    store, few = held_in_memory(chain(True, 30)), ("updates=40", "batch=16")
    found = evidence(store, settings(*few))
    tables = np.stack([CERTAIN, LAZY])
    both = estimate(Tables(store.spec, tables), store, found, settings(*few)).table
    alone = Tables(store.spec, tables[1:])
    alone.seeds = (1,)
    np.testing.assert_allclose(both[1:], estimate(alone, store, found, settings(*few)).table, rtol=1e-4, atol=1e-4)


def test_critics_that_meet_no_number_stop_and_say_so():
    store, few = held_in_memory(chain(True, 30)), settings("updates=40", "batch=16")
    found = evidence(store, few)
    store.table.columns["scalars"][:, 0] = torch.inf
    assert not np.isfinite(estimate(Tables(store.spec, LAZY[None]), store, found, few).table).any()


def robot_store():
    columns = small_columns(lengths=(4, 7, 5, 6))
    columns.attributes["content_sha256"] = "0" * 64
    return TransitionStore.hold(columns, "raw_onehot", "auto", "bootstrap")


def test_a_policy_with_memory_acts_on_what_was_recorded():
    store = robot_store()
    policy = BCGaussian(store.spec, [0, 1], net=Net(8, 1), history=3)
    actions = replay(policy, store, UpdateKey([0, 1]), 2)
    assert torch.equal(actions[:, :, 0], actions[:, :, 1])  # this policy has no dice
    batch = gather(store.rows, store.table, torch.arange(len(store.table)).expand(2, -1), Needs(history=3))
    o, next_o = policy.encode_pair(batch)
    row, following = store.table.columns["rows"].unbind(-1)
    key = UpdateKey([0, 1])
    for seen, rows in ((o, row), (next_o, following)):
        torch.testing.assert_close(actions[:, rows, 0], policy.execute(seen, None, key, Acting()))


def test_a_planner_is_estimated_as_any_other_policy():
    store = robot_store()
    few = settings("updates=4", "batch=8")
    values = estimate(Planner(store.spec, [0], net=Net(8, 1)), store, evidence(store, few), few)
    assert values.table.shape == (1, 2, 1)
    assert np.isfinite(values.table).all()
