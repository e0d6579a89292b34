"""Vaults of users: what cannot be known is declared or told, nothing wrong is converted, every refusal names its place."""

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest

from tests.cli.answers import TINY
from tests.datamodules.vaults.vault_writer import even_arrays, write_vault
from vgm2p.cli import main
from vgm2p.datamodules.layout.checks import check
from vgm2p.datamodules.layout.reading import read
from vgm2p.datamodules.layout.schema import Columns
from vgm2p.datamodules.layout.writing import write

ENDS = np.arange(11, 60, 12)


def said(*words):
    """Run the program; return its exit code, standard output and standard error."""
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        code = main([str(word) for word in words])
    return code, out.getvalue(), errors.getvalue().strip()


def converted(folder, arrays, *words):
    """Write a vault and convert it; return the dataset and the printed text."""
    write_vault(folder / "mine.vlt" / "Good", arrays)
    code, text, errors = said("data", "convert", folder / "mine.vlt" / "Good", f"cache={folder / 'cache'}", *words)
    assert code == 0, errors
    path = Path(next(line.split()[-1] for line in text.splitlines() if line.startswith("ready")))
    assert all(good for _, good, _ in check(path))
    return read(path, verify="full"), text


def refused(folder, arrays, *words, fit=False):
    """Write a vault and convert it; return the line of the refusal. With `fit`, that must say the same."""
    vault, cache = folder / "mine.vlt" / "Good", folder / "cache"
    write_vault(vault, arrays)
    code, _, line = said("data", "convert", vault, f"cache={cache}", *words)
    assert code == 65, line
    assert str(vault) in line and len(line) <= 207 and "fetch" not in line
    if fit:
        keys = [f"data.source.path={vault}", f"data.cache={cache}", *(f"data.source.{word}" for word in words)]
        assert said("fit", *TINY, "data=vault", f"out={folder / 'run'}", *keys)[0::2] == (65, line)
        assert not (folder / "run").exists()
    assert [path.name for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"] == []
    return line


# --- 01: an episode ends where every agent is terminated or truncated -------------------------------------------------


def mixed_ends():
    arrays = even_arrays()
    arrays["terminals"][ENDS[[1, 3]]] = 0
    arrays["terminals"][ENDS[[1, 3]], 0] = 1
    arrays["truncations"][ENDS[[1, 3]], 1:] = 1
    return arrays


def test_an_episode_ends_where_some_agents_are_terminated_and_the_others_truncated(tmp_path):
    arrays = mixed_ends()
    found, text = converted(tmp_path, arrays)
    assert found.episodes["length"].tolist() == [12] * 5
    np.testing.assert_allclose(found.episodes["return"].mean(), arrays["rewards"][:, 0].sum() / 5, rtol=1e-5)
    assert found.episodes["end"].tolist() == [1, 2, 1, 2, 1]
    assert "2 episodes end with some agents terminated, the others truncated" in text


def test_rows_with_flags_of_some_agents_are_counted_and_end_nothing(tmp_path):
    arrays = even_arrays()
    arrays["terminals"][5, 0] = arrays["truncations"][40, 1:] = 1
    found, text = converted(tmp_path, arrays)
    assert found.episodes["length"].tolist() == [12] * 5
    assert "2 rows have an end flag for some agents only" in text
    code, shown, _ = said("data", "show", tmp_path / "mine.vlt" / "Good", f"cache={tmp_path / 'cache'}")
    assert code == 0 and "2 rows have an end flag for some agents only" in shown


@pytest.mark.parametrize("kind", ["terminals only", "truncations only", "one column", "no axis", "bool", "last axis"])
def test_flags_may_have_any_plain_form(kind, tmp_path):
    arrays = even_arrays()
    flags = arrays["terminals"]
    if kind == "terminals only":
        del arrays["truncations"]
    elif kind == "truncations only":
        arrays["truncations"] = arrays.pop("terminals")
    else:
        forms = {"one column": flags[:, :1], "no axis": flags[:, 0], "bool": flags > 0, "last axis": flags[..., None]}
        arrays["terminals"] = forms[kind]
    found, _ = converted(tmp_path, arrays)
    assert found.episodes["length"].tolist() == [12] * 5
    assert set(found.episodes["end"].tolist()) == {2 if kind == "truncations only" else 1}


@pytest.mark.parametrize("value", [np.nan, 0.5, 2.0])
def test_a_flag_that_is_neither_0_nor_1_is_refused(value, tmp_path):
    arrays = even_arrays()
    arrays["terminals"][7, 1] = value
    assert "'terminals'" in (line := refused(tmp_path, arrays, fit=value == 0.5)) and "row 7, agent 1" in line


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
    found, _ = converted(tmp_path / "b", arrays, "discrete=false")
    assert found.attributes["discrete"] == 0 and np.array_equal(found.steps["actions"], arrays["actions"])


# --- 04: no row is dropped unless the layout is declared or proven ------------------------------------------------------


def idle_ends(actions=4):
    arrays = even_arrays(actions=actions)
    arrays["actions"][ENDS] = 0
    arrays["rewards"][:] = 0
    arrays["rewards"][ENDS - 1] = 1
    return arrays


def test_a_last_step_of_zeros_is_a_step(tmp_path):
    found, text = converted(tmp_path, idle_ends())
    assert found.episodes["length"].tolist() == [12] * 5
    assert found.attributes["layout"] == "native"
    assert "layout native: every row is a step; all 5 end rows hold zero actions and rewards" in text


def test_delimiter_rows_are_dropped_where_they_are_declared_or_proven(tmp_path):
    for words in (["layout=delimiter_row"], ["layout=auto", "episode_limit=11"]):
        found, text = converted(tmp_path / words[0], idle_ends(), *words)
        assert found.episodes["length"].tolist() == [11] * 5
        assert "layout delimiter_row: 5 rows of zeros" in text
    found, _ = converted(tmp_path / "c", idle_ends(), "layout=auto")
    assert found.episodes["length"].tolist() == [12] * 5


def test_rows_that_contradict_the_layout_are_refused(tmp_path):
    assert "set layout=native" in refused(tmp_path / "a", even_arrays(), "layout=delimiter_row")
    assert "set layout=delimiter_row" in refused(tmp_path / "b", idle_ends(), "episode_limit=11")
    assert "exceeds the limit of 11" in refused(tmp_path / "c", even_arrays(), "episode_limit=11")


# --- 05: actions beyond 1 are declared, or refused ---------------------------------------------------------------------


def test_large_actions_need_a_word(tmp_path):
    arrays = even_arrays()
    arrays["actions"] *= 4
    line = refused(tmp_path / "a", arrays, fit=True)
    assert "76.1% of actions" in line and "action_scale" in line and "clip=true" in line
    found, text = converted(tmp_path / "b", arrays, "action_scale=4")
    np.testing.assert_allclose(found.steps["actions"], arrays["actions"] / 4, rtol=1e-6)
    assert "actions are divided by action_scale=4; 0.00% of the actions" in text
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


# --- 22: no end flag for all agents anywhere ------------------------------------------------------------------------------


def test_a_vault_without_ends_takes_the_length_of_its_episodes(tmp_path):
    arrays = even_arrays((25,) * 4)
    arrays["terminals"][:] = 0
    line = refused(tmp_path / "a", arrays, fit=True)
    assert "no end flag is set for all agents" in line and "episode_limit=<steps>" in line
    found, text = converted(tmp_path / "b", arrays, "episode_limit=25")
    assert found.episodes["length"].tolist() == [25] * 4 and set(found.episodes["end"].tolist()) == {1}
    assert "every episode is taken to have episode_limit=25 steps" in text
    arrays["terminals"][[3, 9], 0] = 1
    assert "(2 rows have some)" in refused(tmp_path / "c", arrays)


# --- what was found is kept, and compared with the content ------------------------------------------------------------------


def test_check_fails_where_facts_and_content_contradict_one_another(tmp_path):
    found, _ = converted(tmp_path, even_arrays())
    facts = json.loads(found.attributes["facts"])
    for name, value in (("clipped_share", 0.5), ("vault_rows", 61), ("return_mean", 9.0), ("delimiter_rows", 1)):
        attributes = {
            key: value for key, value in found.attributes.items() if key not in ("attributes_sha256", "complete")
        }
        attributes["facts"] = json.dumps({**facts, name: value})
        write(tmp_path / "x.h5", Columns(found.steps, found.episodes, attributes))
        assert any(what == "facts" and not good for what, good, _ in check(tmp_path / "x.h5")), name


def test_two_declarations_of_one_vault_have_files_of_their_own(tmp_path):
    arrays = idle_ends()
    one, _ = converted(tmp_path, arrays)
    vault, cache = tmp_path / "mine.vlt" / "Good", f"cache={tmp_path / 'cache'}"
    assert said("data", "convert", vault, cache, "layout=delimiter_row")[0] == 0
    _, text, _ = said("data", "show", vault, cache)
    assert "transitions 60" in text and "transitions 55" in text and len(one.steps["t"]) == 60
