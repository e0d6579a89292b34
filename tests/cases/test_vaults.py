"""Vaults of users: episodes and layouts are declared, proven or told. What was found is kept and compared."""

import json
import zipfile

import numpy as np
import pytest

from tests.cases.vaults import ENDS, converted, idle_ends, refused, said
from tests.cli.answers import TINY
from tests.datamodules.vaults.vault_writer import even_arrays, write_vault
from vgm2p.datamodules.layout.checks import check
from vgm2p.datamodules.layout.schema import Columns
from vgm2p.datamodules.layout.writing import write

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


# --- 04: no row is dropped unless the layout is declared or proven ------------------------------------------------------


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
    found, text = converted(tmp_path / "c", idle_ends(), "layout=auto")
    assert "if they are no steps, set layout=delimiter_row" in text
    assert found.episodes["length"].tolist() == [12] * 5


def test_rows_of_padding_are_told(tmp_path):
    arrays = even_arrays()
    for name in ("actions", "rewards"):
        arrays[name][9:12] = arrays[name][22:24] = 0
    arrays["terminals"][8:12] = arrays["terminals"][21:24] = 1
    _, text = converted(tmp_path, arrays)
    assert "5 episodes are a single step of zeros behind another end" in text


def test_padding_without_flags_is_told(tmp_path):
    arrays = even_arrays()
    for name in ("actions", "rewards", "observations"):
        arrays[name][24:27] = arrays[name][48] = 0
    _, text = converted(tmp_path / "a", arrays)
    assert "2 episodes begin with a row of zeros, taken as a step" in text
    arrays["observations"][[24, 48], 0, 0] = 1
    assert "begin with a row" not in converted(tmp_path / "b", arrays)[1]


def test_what_is_no_vault_says_what_it_is(tmp_path):
    write_vault(tmp_path / "a.vlt" / "Good", even_arrays())
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(tmp_path / "a.vlt" / "Good" / "metadata.json", "Good/metadata.json")
    (tmp_path / "b.h5").write_bytes(b"")
    for name, says in (
        ("a.vlt", "no vault here (metadata.json is missing); give the folder of one uid (here: Good)"),
        ("a.zip", "a zip; unpack it"),
        ("b.h5", "HDF5 files: data=files"),
        ("nothing", "no such folder"),
    ):
        code, _, line = said("fit", *TINY, "data=vault", f"data.source.path={tmp_path / name}")
        assert code == 66 and says in line
    for data, key in (("vault", "path"), ("published", "id"), ("files", "paths")):
        line = f"vgm2p: data.source.{key} is missing; give it a value"
        assert said("fit", *TINY, f"data={data}")[0::2] == (2, line)
    assert "unpack it" in said("data", "convert", tmp_path / "a.zip")[2]
    (tmp_path / "a.vlt" / "Good" / "manifest.ocdbt").unlink()
    code, _, line = said("data", "convert", tmp_path / "a.vlt" / "Good")
    assert code == 66 and "no vault here (manifest.ocdbt is missing)" in line


def test_rows_that_contradict_the_layout_are_refused(tmp_path):
    assert "set layout=native" in refused(tmp_path / "a", even_arrays(), "layout=delimiter_row")
    assert "set layout=delimiter_row" in refused(tmp_path / "b", idle_ends(), "episode_limit=11")
    assert "exceeds the limit of 11" in refused(tmp_path / "c", even_arrays(), "episode_limit=11")


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


# --- declared, but not there -----------------------------------------------------------------------------------------------


def test_rows_that_were_never_written_are_refused(tmp_path):
    arrays = {name: np.concatenate([x, np.zeros_like(x[:9])]) for name, x in even_arrays().items()}
    assert "rows 60 to 68 hold zeros only" in refused(tmp_path / "a", arrays, fit=True)
    arrays["observations"][68] = 1
    found, text = converted(tmp_path / "b", arrays)
    assert found.episodes["length"].tolist() == [12] * 5 + [9]
    assert "9 rows after the last end flag are kept as an incomplete episode" in text


def test_a_small_vault_that_declares_much_is_not_read(tmp_path):
    arrays = even_arrays()
    write_vault(tmp_path / "v.vlt" / "Good", arrays, index=3_000_000)
    code, _, line = said("data", "convert", tmp_path / "v.vlt" / "Good", f"cache={tmp_path / 'cache'}")
    assert code == 65 and "declares 0.3" in line and "GB, but holds 0.0" in line
    assert not (tmp_path / "cache" / "own").exists()


@pytest.mark.parametrize(("word", "says"), [("layout=other", "layout must be"), ("action_scale=0", "above 0")])
def test_a_wrong_declaration_is_a_wrong_key(word, says, tmp_path):
    vault = write_vault(tmp_path / "v.vlt" / "Good", even_arrays())
    code, _, line = said("data", "convert", vault, f"cache={tmp_path / 'cache'}", word)
    assert code == 2 and says in line
    code, _, line = said("data", "convert", "og_marl/smac_v1/3m/Good", f"cache={tmp_path / 'cache'}", "clip=true")
    assert code == 2 and "clip= is for your own data" in line
