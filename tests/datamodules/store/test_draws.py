"""The resident dataset against a reference that walks episodes step by step."""

import numpy as np
import pytest
import torch

from tests.datamodules.datasets import discrete_columns, store_of, without_finals
from tests.support import small_columns
from vgm2p.datamodules.layout.schema import INCOMPLETE, TERMINAL, TIMEOUT, Columns
from vgm2p.datamodules.store.transitions import TransitionStore
from vgm2p.envs.observation import agents_view, robot_of_omiga
from vgm2p.errors import ConfigError, DataError
from vgm2p.rng import StaticKey, UpdateKey
from vgm2p.types import Needs

ALL = Needs(frozenset(("next_action", "state", "next_state")))


# data.timeouts -> (next is the stored final row, bootstrap, valid) after a time limit
STORED = {"bootstrap": (True, 1, 1), "terminal": (True, 0, 1), "drop": (True, 0, 0), "self": (True, 1, 1)}
CUT = {"terminal": (False, 0, 1), "drop": (False, 0, 0), "self": (False, 1, 1)}


def walked(columns: Columns, timeout) -> dict[int, tuple]:
    """Row -> (reward, next row, bootstrap, valid), by walking the episodes."""
    table = {}
    for start, length, end in zip(*(columns.episodes[k] for k in ("start", "length", "end")), strict=True):
        for row in range(start, start + length):
            following, bootstrap, valid = row + 1, 1, 1
            if row == start + length - 1:
                kept, bootstrap, valid = (True, 0, 1) if end == 0 else timeout
                stored = row + 1 < len(columns.steps["t"]) and columns.steps["has_action"][row + 1] == 0
                following = row + 1 if kept and stored else row
            table[int(row)] = (columns.steps["rewards"][row], following, bootstrap, valid)
    return table


@pytest.mark.parametrize(("stored", "mode"), [(True, m) for m in STORED] + [(False, m) for m in CUT])
def test_draw_equals_a_walk_through_the_episodes(stored, mode, tmp_path):
    columns = small_columns() if stored else without_finals(small_columns())
    store = store_of(tmp_path, columns, timeouts=mode)
    store.provide(ALL, 0.0)
    rows = np.flatnonzero(columns.steps["has_action"])
    table = walked(columns, (STORED if stored else CUT)[mode])
    key = UpdateKey([3, 4]).at(5)
    batch, plain = store.draw(key, 200, ALL), store.draw(key.at(5), 200)
    index = key.at(5).integers("batch", (200,), len(rows))
    robot, actions = columns.steps["robot_observation"], columns.steps["actions"]
    for s in range(2):
        for b in range(200):
            row = int(rows[index[s, b]])
            reward, following, bootstrap, valid = table[row]
            for i in range(2):
                identity = np.eye(2, dtype=np.float32)[i]
                np.testing.assert_array_equal(batch.obs[s, b, i], np.concatenate([robot[row], identity]))
                np.testing.assert_array_equal(batch.next_obs[s, b, i], np.concatenate([robot[following], identity]))
            np.testing.assert_array_equal(batch.action[s, b], actions[row])
            np.testing.assert_array_equal(batch.next_action[s, b], actions[following])
            np.testing.assert_array_equal(batch.state[s, b], robot[row])
            np.testing.assert_array_equal(batch.next_state[s, b], robot[following])
            assert (batch.reward[s, b], batch.bootstrap[s, b]) == (reward, bootstrap)
            assert plain.valid[s, b] == valid
            unknown = bootstrap and not columns.steps["has_action"][following]
            assert batch.valid[s, b] == (0 if unknown else valid)


def ends_drawn(store, columns, needs):
    """Kind of end -> values of `valid` drawn at the last step of such episodes; None: at all other steps."""
    batch, key = store.draw(UpdateKey([0]).at(0), 500, needs), UpdateKey([0]).at(0)
    rows = np.flatnonzero(columns.steps["has_action"])[key.integers("batch", (500,), 16)[0]]
    last = columns.episodes["start"] + columns.episodes["length"] - 1
    kinds = dict(zip(last.tolist(), columns.episodes["end"].tolist(), strict=True))
    found = {}
    for row, valid in zip(rows.tolist(), batch.valid[0].tolist(), strict=True):
        found.setdefault(kinds.get(row), set()).add(valid)
    return found


def test_a_row_that_bootstraps_where_nothing_was_done_enters_no_loss_that_reads_the_next_action(tmp_path):
    columns = small_columns()
    store = store_of(tmp_path, columns)
    store.provide(ALL, 0.0)
    assert ends_drawn(store, columns, ALL) == {None: {1.0}, TERMINAL: {1.0}, TIMEOUT: {0.0}}
    assert ends_drawn(store, columns, Needs()) == {None: {1.0}, TERMINAL: {1.0}, TIMEOUT: {1.0}}
    columns.episodes["end"][-1] = INCOMPLETE
    cut = TransitionStore.hold(columns, "raw_onehot", "auto", "bootstrap")
    cut.provide(ALL, 0.0)
    assert ends_drawn(cut, columns, ALL) == {None: {1.0}, TERMINAL: {1.0}, INCOMPLETE: {0.0}}


@pytest.mark.parametrize("view", ["raw_onehot", "omiga"])
def test_views_built_at_loading_and_per_batch_are_the_same(view, tmp_path, monkeypatch):
    at_loading = store_of(tmp_path, small_columns(), view=view)
    monkeypatch.setattr("vgm2p.datamodules.store.resident.VIEWS_BYTES", 0)
    per_batch = TransitionStore.load([tmp_path / "x.h5"], view=view)
    assert per_batch.rows.columns["observation"].shape[1] == 3
    assert at_loading.rows.columns["observation"].shape[1] == 2 * 5
    for one, two in zip(
        *(vars(s.draw(UpdateKey([0]).at(1), 50)).values() for s in (at_loading, per_batch)), strict=True
    ):
        assert one is two is None or torch.equal(one, two)


@pytest.mark.parametrize("by_return", [False, True])
@pytest.mark.parametrize("ahead", [1, 100, 2048])
def test_batches_gathered_ahead_are_those_of_their_updates(ahead, by_return, tmp_path, monkeypatch):
    monkeypatch.setattr("vgm2p.datamodules.store.transitions.ROWS_AT_ONCE", ahead)
    store, key, static = store_of(tmp_path, small_columns()), UpdateKey([3, 4]), StaticKey([3, 4], "cpu")
    needs = Needs(frozenset(("next_action", "state", "episode_rank")), history=3)
    store.provide(needs, 0.9)
    if by_return:
        store.draw_by_return(0.7)
    for update in [*range(60, 70), 62, 200, 199, 0, 1, 130]:  # over the end of a chunk of numbers, back, and far on
        together = store.draw(key.at(update), 20, needs)
        alone = store.draw(static.at(update), 20, needs)
        for name, value in vars(alone).items():
            assert (value is None and vars(together)[name] is None) or torch.equal(value, vars(together)[name]), name


def test_every_acting_row_is_drawn_equally_often(tmp_path):
    store = store_of(tmp_path, small_columns())
    rows = store.table.columns["rows"]
    counts = torch.zeros(len(rows))
    for update in range(300):
        counts += torch.bincount(UpdateKey([0]).at(update).integers("batch", (64,), len(rows))[0], minlength=len(rows))
    expected = counts.sum() / len(rows)
    assert ((counts - expected).square() / expected).sum() < 45  # chi square, 15 degrees of freedom, p = 1e-4


def test_draws_by_return_follow_the_probabilities_of_the_episodes(tmp_path):
    store = store_of(tmp_path, small_columns())
    store.draw_by_return(0.7)
    lengths, rows = store.dataset.episodes["length"], store.table.columns["rows"][:, 0]
    counts = torch.zeros(len(rows))
    for update in range(300):
        drawn = store.table.drawn(UpdateKey([0]).at(update).integers("batch", (64,), store.table.numbers))
        counts += torch.bincount(drawn[0], minlength=len(rows))
    probabilities = torch.from_numpy(np.repeat(store.table.draw_by_return(0.7).probabilities, lengths))
    assert probabilities.max() > 2 * probabilities.min()
    expected = counts.sum() * probabilities
    assert ((counts - expected).square() / expected).sum() < 45  # chi square, 15 degrees of freedom, p = 1e-4
    key = UpdateKey([0, 1]).at(7)
    chosen = store.table.drawn(key.integers("batch", (40,), store.table.numbers))
    assert torch.equal(store.draw(key.at(7), 40).reward, store.table.take("scalars", chosen)[..., 0])


def test_the_last_number_belongs_to_the_last_transition_that_can_be_drawn(tmp_path):
    columns = small_columns()
    columns.episodes["return"][:] = np.arange(len(columns.episodes["return"]))[::-1]  # the first episode is the best
    store = TransitionStore.hold(columns, "raw_onehot", "auto", "bootstrap")
    store.draw_by_return(0.01)
    ends = store.table.drawn(torch.tensor([0, store.table.numbers - 1]))
    assert ends.tolist() == [0, int(columns.episodes["length"][0]) - 1]
    assert store.sampling.temperature == 0.0


def test_discrete_actions_and_legal_masks_of_both_ends(tmp_path):
    columns = discrete_columns()
    store = store_of(tmp_path, columns)
    key = UpdateKey([0]).at(0)
    batch = store.draw(key, 50)
    row = np.flatnonzero(columns.steps["has_action"])[key.at(0).integers("batch", (50,), 16)[0]]
    assert batch.action.dtype == torch.int64
    np.testing.assert_array_equal(batch.action[0], columns.steps["actions"][row])
    np.testing.assert_array_equal(batch.legal[0], columns.steps["legal_actions"][row].astype(bool))
    np.testing.assert_array_equal(batch.next_legal[0], columns.steps["legal_actions"][row + 1].astype(bool))


def test_an_illegal_stored_action_is_refused(tmp_path):
    columns = discrete_columns()
    columns.steps["legal_actions"][0, 0, columns.steps["actions"][0, 0]] = 0
    with pytest.raises(DataError, match="1 stored actions are not legal"):
        store_of(tmp_path, columns)


def test_omiga_view_is_the_zscore_per_vector_and_can_be_undone():
    robot = torch.randn(50, 17, generator=torch.Generator().manual_seed(0)) * torch.logspace(-2, 1, 17)
    view = agents_view(robot, 6, "omiga")
    for i in (0, 5):
        vector = np.concatenate([robot[7].double().numpy(), np.eye(6)[i]])
        np.testing.assert_allclose(view[7, i], (vector - vector.mean()) / vector.std(), atol=1e-6)
    torch.testing.assert_close(robot_of_omiga(view, 6), robot, atol=1e-5, rtol=1e-5)


def test_unknown_timeouts_name_the_nearest(tmp_path):
    with pytest.raises(ConfigError, match="'drop'"):
        store_of(tmp_path, small_columns(), timeouts="drp")
