"""Vaults of users: shapes, types and numbers are judged before anything is narrowed. A refusal names leaf, row and agent."""

import json

import numpy as np
import pytest

from tests.cases.vaults import converted, refused
from tests.datamodules.vaults.vault_writer import even_arrays

# --- 03: integers stored as floats are indices where legal actions are stored ------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.uint8])
@pytest.mark.parametrize("axis", [False, True])
def test_actions_beside_legal_actions_are_indices_whatever_their_type(dtype, axis, tmp_path):
    arrays = even_arrays(actions=4)
    wanted = arrays["actions"]
    arrays["actions"] = (wanted[..., None] if axis else wanted).astype(dtype)
    found, text = converted(tmp_path, arrays)
    assert found.attributes["discrete"] == 1 and found.attributes["action_dim"] == 4
    assert np.array_equal(found.steps["actions"], wanted)
    assert ("actions are indices, stored as" in text) == (np.dtype(dtype).kind == "f")


@pytest.mark.parametrize("value", [1.5, np.nan, -1.0, 4.0, 65536.0, np.inf])
def test_an_action_that_is_no_index_is_refused(value, tmp_path):
    arrays = even_arrays(actions=4)
    arrays["actions"] = arrays["actions"].astype(np.float32)
    arrays["actions"][33, 2] = value
    assert "'actions' holds" in (line := refused(tmp_path, arrays, fit=value == 1.5)) and "row 33, agent 2" in line


def test_an_integer_is_judged_before_it_becomes_int16(tmp_path):
    arrays = even_arrays(actions=4)
    arrays["actions"] = arrays["actions"].astype(np.int64)
    arrays["actions"][3, 1] += 1 << 16
    assert "row 3, agent 1" in refused(tmp_path, arrays)


def test_an_action_that_is_not_legal_is_named(tmp_path):
    arrays = even_arrays(actions=4)
    arrays["infos.legals"][50, 1] = np.eye(4)[(arrays["actions"][50, 1] + 1) % 4]
    assert "row 50, agent 1, which is not legal there" in refused(tmp_path, arrays)


def test_legal_actions_of_continuous_actions_need_a_word(tmp_path):
    arrays = even_arrays()
    arrays["infos.legals"] = np.ones((60, 3, 2), np.float32)
    assert "discrete=false" in refused(tmp_path / "a", arrays)
    narrow = {**arrays, "actions": arrays["actions"][..., :1]}
    assert "no index from 0 to 1; correct the vault, or set discrete=false" in refused(tmp_path / "c", narrow)
    found, _ = converted(tmp_path / "b", arrays, "discrete=false")
    assert found.attributes["discrete"] == 0 and np.array_equal(found.steps["actions"], arrays["actions"])


# --- 05: actions beyond 1 are declared, or refused ---------------------------------------------------------------------


def test_large_actions_need_a_word(tmp_path):
    arrays = even_arrays()
    arrays["actions"] *= 4
    line = refused(tmp_path / "a", arrays, fit=True)
    assert "76.1% of actions" in line and "action_scale" in line and "clip=true" in line
    found, text = converted(tmp_path / "b", arrays, "action_scale=4")
    np.testing.assert_allclose(found.steps["actions"], arrays["actions"] / 4, rtol=1e-6)
    assert "actions are divided by action_scale=4; no action is outside [-1, 1] (largest" in text
    found, text = converted(tmp_path / "c", arrays, "clip=true")
    assert np.array_equal(found.steps["actions"], arrays["actions"])
    share = (np.abs(arrays["actions"]) > 1).mean()
    assert f"{share:.2%} of the actions are outside [-1, 1] and are clipped" in text
    assert json.loads(found.attributes["facts"])["clipped_share"] == pytest.approx(share)
    assert "of actions" in refused(tmp_path / "d", arrays, "action_scale=2", fit=True)


def test_a_few_actions_beyond_1_are_told(tmp_path):
    arrays = even_arrays()
    arrays["actions"][20, 1, 0] = -1.5
    found, text = converted(tmp_path, arrays)
    assert "0.28% of the actions are outside [-1, 1] and are clipped (largest 1.5)" in text
    assert found.attributes["action_limit"] == 1.5


def test_indices_need_legal_actions(tmp_path):
    arrays = even_arrays(actions=4)
    del arrays["infos.legals"]
    assert "not supported: discrete actions without infos.legals" in refused(tmp_path / "a", arrays)
    arrays["actions"] = arrays["actions"].astype(np.float32)
    assert "store infos.legals if they are indices" in refused(tmp_path / "b", arrays)


# --- numbers are judged before they are narrowed, and named -------------------------------------------------------------


@pytest.mark.parametrize("leaf", ["observations", "rewards", "actions", "infos.state"])
@pytest.mark.parametrize("value", [1e39, -1e300, np.inf, np.nan])
def test_a_number_that_float32_cannot_hold_is_refused_with_its_row(leaf, value, tmp_path):
    arrays = even_arrays()
    arrays["infos.state"] = np.random.default_rng(0).normal(size=(60, 7))
    arrays[leaf] = arrays[leaf].astype(np.float64)
    arrays[leaf].reshape(60, -1)[41, -1] = value
    assert "row 41" in (line := refused(tmp_path, arrays)) and f"'{leaf}'" in line
    assert leaf == "infos.state" or "agent 2" in line


def test_padding_that_starts_later_is_refused(tmp_path):
    arrays = even_arrays()
    arrays["observations"][30:, 1, 4] = -np.inf
    assert "first in row 30, agent 1" in refused(tmp_path, arrays)


# --- 21: shapes and types are judged when the vault is opened ------------------------------------------------------------


SHAPES = {
    "images": ("observations", lambda x: np.zeros((60, 3, 4, 4, 2), np.float32)),
    "no width": ("observations", lambda x: x[..., 0]),
    "several indices": ("actions", lambda x: np.stack([x, x], -1)),
    "other agents": ("actions", lambda x: x[:, :2]),
    "one mask": ("infos.legals", lambda x: x[:, 0]),
    "complex": ("observations", lambda x: x.astype(np.complex64)),
    "state of images": ("infos.state", lambda x: np.zeros((60, 4, 4, 3), np.uint8)),
    "state of others": ("infos.state", lambda x: np.zeros((60, 2, 9), np.float32)),
    "rewards of parts": ("rewards", lambda x: np.zeros((60, 3, 2), np.float32)),
    "flags of others": ("terminals", lambda x: x[:, :2]),
}


@pytest.mark.parametrize("kind", SHAPES)
def test_what_our_layout_cannot_hold_is_said_before_anything_is_written(kind, tmp_path):
    leaf, change = SHAPES[kind]
    arrays = even_arrays(actions=4)
    arrays[leaf] = change(arrays.get(leaf))
    line = refused(tmp_path, arrays, fit=kind in ("images", "several indices"))
    assert f"'{leaf}'" in line or "multi-discrete" in line
    assert not (tmp_path / "cache" / "own").exists()


def test_a_vault_without_any_flag_leaf_is_not_supported(tmp_path):
    arrays = even_arrays()
    del arrays["terminals"], arrays["truncations"]
    assert "without 'terminals or truncations'" in refused(tmp_path, arrays)


def test_rewards_may_be_one_column_of_integers(tmp_path):
    arrays = even_arrays()
    arrays["rewards"] = np.arange(60).astype(np.uint8)
    found, _ = converted(tmp_path, arrays)
    assert found.steps["rewards"].tolist() == list(range(60)) and "agent_rewards" not in found.steps
