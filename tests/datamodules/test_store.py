"""The resident dataset against a reference that walks episodes step by step."""

import dataclasses

import numpy as np
import pytest
import torch

from tests.support import RECORDED, small_columns
from vgm2p.datamodules.layout.combine import concatenate
from vgm2p.datamodules.layout.schema import INCOMPLETE, TERMINAL, TIMEOUT, Columns, write
from vgm2p.datamodules.offline import Blocks
from vgm2p.datamodules.sources.recorded import Bundled, Recorded
from vgm2p.datamodules.store.transitions import TransitionStore
from vgm2p.envs.observation import agents_view, robot_of_omiga
from vgm2p.errors import ConfigError, DataError
from vgm2p.rng import StaticKey, UpdateKey
from vgm2p.types import Needs

ALL = Needs(frozenset(("next_action", "state", "next_state")))
RETURN = Needs(frozenset(("return_to_go",)))
RANK = Needs(frozenset(("episode_rank",)))


def without_finals(columns: Columns) -> Columns:
    keep = columns.steps["has_action"].astype(bool)
    columns.steps = {name: array[keep] for name, array in columns.steps.items()}
    columns.episodes["rows"] = columns.episodes["length"].copy()
    columns.episodes["start"] = (np.cumsum(columns.episodes["rows"]) - columns.episodes["rows"]).astype(np.int64)
    return columns


def store_of(tmp_path, columns, **options) -> TransitionStore:
    write(tmp_path / "x.h5", columns)
    return TransitionStore.load([tmp_path / "x.h5"], **options)


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


@pytest.mark.parametrize("ahead", [1, 100, 2048])
def test_batches_gathered_ahead_are_those_of_their_updates(ahead, tmp_path, monkeypatch):
    monkeypatch.setattr("vgm2p.datamodules.store.transitions.ROWS_AT_ONCE", ahead)
    store, key, static = store_of(tmp_path, small_columns()), UpdateKey([3, 4]), StaticKey([3, 4], "cpu")
    needs = Needs(frozenset(("next_action", "state", "episode_rank")), history=3)
    store.provide(needs, 0.9)
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


def discrete_columns() -> Columns:
    columns = small_columns()
    rng = np.random.default_rng(1)
    total = len(columns.steps["t"])
    legal = rng.random((total, 2, 3)) > 0.5
    legal[..., 1] = True
    scores = np.where(legal, rng.random(legal.shape), -1.0)
    acting = columns.steps["has_action"].astype(bool)[:, None]
    columns.steps["actions"] = np.where(acting, scores.argmax(-1), 0).astype(np.int16)
    columns.steps["legal_actions"] = legal.astype(np.uint8)
    columns.attributes |= {"discrete": 1, "action_dim": 3}
    return columns


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


def moments(store):
    survey = store.survey(0.0)
    return survey.mean, survey.std


def test_statistics_are_those_of_acting_rows_in_double_precision(tmp_path):
    columns = small_columns()
    columns.steps["robot_observation"][:, 2] = 4.0
    mean, std = moments(store_of(tmp_path, columns))
    acted = columns.steps["robot_observation"][columns.steps["has_action"].astype(bool)].astype(np.float64)
    np.testing.assert_allclose(mean[:3], acted.mean(0), rtol=1e-6)
    np.testing.assert_allclose(std[:3], np.maximum(acted.std(0), 1e-3), rtol=1e-6)
    assert std[2] == pytest.approx(1e-3)
    assert mean[3:].tolist() == [0, 0]
    assert std[3:].tolist() == [1, 1]


def test_omiga_view_is_the_zscore_per_vector_and_can_be_undone():
    robot = torch.randn(50, 17, generator=torch.Generator().manual_seed(0)) * torch.logspace(-2, 1, 17)
    view = agents_view(robot, 6, "omiga")
    for i in (0, 5):
        vector = np.concatenate([robot[7].double().numpy(), np.eye(6)[i]])
        np.testing.assert_allclose(view[7, i], (vector - vector.mean()) / vector.std(), atol=1e-6)
    torch.testing.assert_close(robot_of_omiga(view, 6), robot, atol=1e-5, rtol=1e-5)


def test_omiga_view_is_not_standardised_again_unless_asked(tmp_path):
    mean, std = moments(store_of(tmp_path, small_columns(), view="omiga"))
    assert mean.abs().sum() == 0
    assert (std == 1).all()
    mean, _ = moments(store_of(tmp_path, small_columns(), view="omiga", obs_norm="dataset"))
    assert mean.abs().sum() > 0


def test_medium_expert_is_medium_then_expert(tmp_path):
    source = Recorded(str(RECORDED), ["hopper-medium", "hopper-expert"], str(tmp_path))
    paths = source.resolve()
    both = TransitionStore.load(paths)
    medium, expert = (TransitionStore.load([path]) for path in paths)
    assert both.returns == medium.returns + expert.returns
    assert both.summary["transitions"] == medium.summary["transitions"] + expert.summary["transitions"]
    n, offset = len(medium.table), len(medium.rows.columns["observation"])
    assert torch.equal(both.table.columns["rows"][:n], medium.table.columns["rows"])
    assert torch.equal(both.table.columns["rows"][n:], expert.table.columns["rows"] + offset)
    assert both.summary["digest"] not in (medium.summary["digest"], expert.summary["digest"])


def test_different_tasks_are_not_mixed(tmp_path):
    other = small_columns()
    other.attributes["env_id"] = "other"
    for name, columns in (("a", small_columns()), ("b", other)):
        write(tmp_path / f"{name}.h5", columns)
    with pytest.raises(DataError, match="env_id"):
        TransitionStore.load([tmp_path / "a.h5", tmp_path / "b.h5"])


def test_best_episodes_are_those_with_the_highest_return(tmp_path):
    store = store_of(tmp_path, small_columns())
    best = store.best_episodes(1 / 3)
    assert best.returns == [max(store.returns)]
    assert best.summary["digest"] != store.summary["digest"]
    batch = best.draw(UpdateKey([0]).at(0), 40)
    e = int(np.argmax(store.returns))
    episode = small_columns().episodes
    rewards = small_columns().steps["rewards"][episode["start"][e] : episode["start"][e] + episode["length"][e]]
    assert set(batch.reward[0].tolist()) == set(rewards.tolist())


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
    index = key.at(5).integers("batch", (100,), len(expected))
    assert found.shape == (1, 100)
    np.testing.assert_allclose(found, np.array(expected)[index], rtol=1e-5)
    found = ended.draw(key.at(5), 100, RETURN).return_to_go
    np.testing.assert_allclose(found, np.array(over)[index], rtol=1e-5)
    assert expected != over
    with pytest.raises(ConfigError, match="below 1"):
        store.provide(RETURN, 1.0)
    store.provide(RETURN, 0.0)
    now = store.draw(key.at(5), 100, RETURN)
    assert torch.equal(now.return_to_go, now.reward)


def test_the_rank_of_an_episode_counts_the_steps_of_those_that_return_as_much_or_less(tmp_path):
    columns = small_columns(lengths=(4, 7, 5, 4))
    columns.episodes["return"][:] = [2.0, -1.0, 2.0 + 1e-7, 7.0]
    store = TransitionStore.hold(columns, "raw_onehot", "none", "bootstrap")
    store.provide(RANK, 0.0)
    key = UpdateKey([1]).at(0)
    found = store.draw(key, 100, RANK).episode_rank
    expected = np.repeat(np.array([16, 7, 16, 20]) / 20, [4, 7, 5, 4])
    np.testing.assert_allclose(found, expected[key.at(0).integers("batch", (100,), 20)], rtol=1e-6)
    assert store.draw(key.at(0), 100).episode_rank is None


@pytest.mark.parametrize("share", [0.0, 1.5, -0.1])
def test_a_share_of_episodes_lies_between_none_and_all(share, tmp_path):
    with pytest.raises(ConfigError, match="best_share"):
        store_of(tmp_path, small_columns()).best_episodes(share)


def test_concatenation_keeps_the_numbers_of_its_parts():
    parts = [small_columns(0), small_columns(1, lengths=(3, 2))]
    for part in parts:
        part.attributes["content_sha256"] = "x"
    whole = concatenate(parts)
    assert whole.episodes["start"].tolist() == [0, 5, 13, 19, 23]
    np.testing.assert_array_equal(whole.steps["rewards"][19:], parts[1].steps["rewards"])


def test_unknown_timeouts_name_the_nearest(tmp_path):
    with pytest.raises(ConfigError, match="'drop'"):
        store_of(tmp_path, small_columns(), timeouts="drp")


@pytest.mark.parametrize("block", [1, 7, 50, 200])
@pytest.mark.parametrize("start", [0, 3, 50, 99])
def test_blocks_cover_what_is_missing_and_end_at_every_interval(block, start):
    blocks = list(Blocks(start, 100, block, [20, 33]))
    assert [u for first, last in blocks for u in range(first, last)] == list(range(start, 100))
    edges = {last for _, last in blocks}
    assert {e for e in (20, 33, 40, 60, 66, 80, 99, 100) if e > start} <= edges
    assert all(last - first <= block for first, last in blocks)


def test_the_bundled_set_loads_as_documented():
    store = TransitionStore.load(Bundled().resolve())
    assert (store.summary["episodes"], store.summary["transitions"]) == (50, 50_000)
    assert store.spec.env_id == "HalfCheetah-v5"
    assert dataclasses.astuple(store.spec)[:4] == (6, 23, 1, False)
