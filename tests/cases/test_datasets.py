"""Datasets in our layout: what is allowed, constant features, files that are joined, files that were moved."""

import json

import h5py
import numpy as np
import pytest

from tests.cases.inputs import fit, on_file, own, refused
from tests.cases.test_layout import judged, returns_wrong
from tests.cli.answers import answer
from tests.datamodules.datasets import discrete_columns, native_columns
from tests.support import small_columns
from vgm2p.cli import main
from vgm2p.datamodules.layout.episodes import Episodes
from vgm2p.datamodules.layout.reading import read
from vgm2p.datamodules.layout.schema import INCOMPLETE, TERMINAL
from vgm2p.datamodules.layout.writing import store, write
from vgm2p.datamodules.store.transitions import TransitionStore
from vgm2p.errors import DataError


def test_check_and_fit_say_the_same_to_the_user(tmp_path):
    columns = own()
    returns_wrong(columns)
    store(tmp_path / "x.h5", columns)
    refused(on_file(tmp_path, tmp_path / "x.h5"), 65, "the return of episode 0", "write the file again")
    assert answer(["data", "check", str(tmp_path / "x.h5")])[0] == 65
    assert not (tmp_path / "run").exists()


def test_what_the_rules_allow_is_written_and_read_back(tmp_path):
    for number, columns in enumerate((own(), discrete_columns(), native_columns())):
        columns.attributes |= {
            "n_agents": np.int64(columns.attributes["n_agents"]),
            "note": "ä",
            "share": 0.5,
            "yes": True,
        }
        path = tmp_path / f"{number}.h5"
        write(path, columns)
        found = read(path, verify="full")
        assert [name for name, _ in found.arrays()] == [name for name, _ in columns.arrays()]
        assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(found.arrays(), columns.arrays(), strict=True))
        write(tmp_path / "again.h5", found)  # with the hashes of the first file among its attributes
        assert path.read_bytes() == (tmp_path / "again.h5").read_bytes()


def test_behaviours_that_the_recorder_did_not_name_are_no_contradiction(tmp_path):
    columns = small_columns()
    columns.episodes["behaviour"] = np.zeros(3, "i1")
    write(tmp_path / "x.h5", columns)
    columns.attributes["behaviours"] = "[]"
    write(tmp_path / "x.h5", columns)
    assert answer(["data", "show", str(tmp_path / "x.h5")]) == (0, "")
    columns.attributes["behaviours"] = json.dumps([{"policy": "a"}])
    columns.episodes["behaviour"][1] = 1
    with pytest.raises(DataError, match="episode 1 has behaviour 1"):
        write(tmp_path / "x.h5", columns)


def test_files_that_store_a_task_in_different_columns_are_not_mixed(tmp_path):
    first, second = native_columns(), native_columns()
    del second.steps["legal_actions"], first.steps["agent_rewards"]
    second.steps["legal_actions"] = native_columns().steps["legal_actions"]
    write(tmp_path / "a.h5", first)
    write(tmp_path / "b.h5", second)  # the rewards of the agents are not used: one may lack them
    options = ("native", "auto", "bootstrap", "never")
    assert len(TransitionStore.load([tmp_path / "b.h5", tmp_path / "a.h5"], *options).returns) == 6
    second.steps["state"] = np.repeat(second.steps["state"][:, None], 2, 1)
    write(tmp_path / "b.h5", second)
    with pytest.raises(DataError, match="different tasks"):
        TransitionStore.load([tmp_path / "b.h5", tmp_path / "a.h5"], *options)


def constant(features=(8, 9, 10)):
    columns = own()
    columns.steps["robot_observation"][:, features] = 0.25
    return columns


def test_a_constant_feature_keeps_its_scale_and_is_named(tmp_path, capsys):
    write(tmp_path / "x.h5", constant())
    write(tmp_path / "same.h5", own())
    survey, other = (TransitionStore.load([tmp_path / name]).survey(0.0) for name in ("x.h5", "same.h5"))
    still = np.isin(np.arange(23), (8, 9, 10))
    assert survey.std.numpy()[still].tolist() == [1.0] * 3 and survey.mean.numpy()[still].tolist() == [0.25] * 3
    assert np.array_equal(survey.std.numpy()[~still], other.std.numpy()[~still])  # bit for bit
    line = "3 features never change in these data (8-10); standardisation gives them deviation 1"
    for words in (
        ["data", "show", tmp_path / "x.h5"],
        ["data", "check", tmp_path / "x.h5"],
        on_file(tmp_path, tmp_path / "x.h5"),
    ):
        assert main([str(word) for word in words]) == 0
        assert line in capsys.readouterr().out


def test_a_feature_that_hardly_changes_is_scaled_as_before(tmp_path):
    columns = own()
    columns.steps["robot_observation"][:, 8] = 0.25
    columns.steps["robot_observation"][40, 8] = 0.2501
    write(tmp_path / "x.h5", columns)
    assert TransitionStore.load([tmp_path / "x.h5"]).survey(0.0).std[8] == np.float32(1e-3)


def test_a_final_observation_does_not_make_a_feature_change(tmp_path):
    columns = constant((3,))
    columns.steps["robot_observation"][columns.steps["has_action"] == 0, 3] = 7.0
    write(tmp_path / "x.h5", columns)
    assert TransitionStore.load([tmp_path / "x.h5"]).summary["constant_features"] == [3]


def test_a_moved_dataset_is_known_by_its_digest(tmp_path):
    write(tmp_path / "a.h5", own())
    words = fit(tmp_path, "data=files")
    assert answer([*words, f"data.source.paths=[{tmp_path / 'a.h5'}]"]) == (0, "")
    (tmp_path / "new place").mkdir()
    (tmp_path / "a.h5").rename(tmp_path / "new place" / "b.h5")
    resume = ["fit", f"resume={tmp_path / 'run'}"]
    refused([*resume, "updates=8"], 66, "a.h5: no such dataset file", "data.source.paths")
    moved = f"data.source.paths=['{tmp_path / 'new place' / 'b.h5'}']"
    assert answer([*resume, "updates=8", moved]) == (0, "")
    assert json.loads((tmp_path / "run" / "results.json").read_text())["updates"] == 8
    assert answer([*resume, "updates=12"]) == (0, "")  # the new place is kept
    write(tmp_path / "c.h5", own(length=29))
    for updates in (12, 16):  # a finished run, and one that would go on
        other = f"data.source.paths=[{tmp_path / 'c.h5'}]"
        refused([*resume, f"updates={updates}", other], 2, "data.source.paths (and the data there are others)")
    write(tmp_path / "new place" / "b.h5", own(length=29))
    for updates in (12, 16):
        refused([*resume, f"updates={updates}"], 65, "was trained on data")
    (tmp_path / "new place" / "b.h5").unlink()
    assert answer([*resume, "updates=12"]) == (0, "")  # a result is shown without its data


@pytest.mark.parametrize("share", ["null", "0.5"])
def test_a_sweep_takes_no_run_whose_files_now_hold_other_data(tmp_path, share):
    write(tmp_path / "a.h5", own())
    words = [*fit(tmp_path, "data=files"), f"data.source.paths=[{tmp_path / 'a.h5'}]", f"data.best_share={share}"]
    assert answer(words) == (0, "") == answer([*words, "-m"])
    write(tmp_path / "a.h5", own(length=29))
    code, text = answer([*words, "-m"])
    assert code == 65 and "was trained on data" in text


def test_a_sweep_over_files_trains_one_run_on_each(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("a b.h5", "c,d.h5", "e.h5")):
        write(tmp_path / name, own(length=30 + number))
    tiny = [word for word in fit(tmp_path, "algo=bc_mse") if not word.startswith("out=")]
    assert answer([*tiny, "-m", "data=a b.h5,'c,d.h5'"]) == (0, "")
    assert answer([*tiny, "-m", "data=files", "data.source.paths=[a b.h5,'c,d.h5'],[e.h5]"]) == (0, "")
    assert answer([*tiny, "-m", "data=c,d.h5"]) == (0, "")  # one file, which was trained on already
    found = [json.loads(path.read_text())["config"]["data"] for path in tmp_path.rglob("manifest.json")]
    lists = sorted(data["source"]["paths"] for data in found)
    assert lists == [["a b.h5"], ["a b.h5", "c,d.h5"], ["c,d.h5"], ["e.h5"]]


def test_a_sweep_over_files_and_names_or_over_unlike_files_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.h5", own())
    write(tmp_path / "n.h5", native_columns())
    refused(fit(tmp_path, "-m", "data=a.h5,bundled_2s3z"), 2, "bundled_2s3z is no file", "by two commands")
    refused(fit(tmp_path, "-m", "data=a.h5,n.h5"), 2, "n.h5 stores the agents' own vectors, a.h5 does not")


def test_lengths_of_one_step_and_lone_observations_are_allowed(tmp_path):
    table = Episodes(np.array([1, 0, 2]), np.array([TERMINAL, INCOMPLETE, TERMINAL]), finals=True)
    columns = small_columns()
    for name in ("robot_observation", "actions", "rewards"):
        columns.steps[name] = np.zeros((table.total, *columns.steps[name].shape[1:]), "f4")
    write(
        tmp_path / "x.h5",
        table.columns({k: columns.steps[k] for k in ("robot_observation", "actions", "rewards")}, columns.attributes),
    )
    assert read(tmp_path / "x.h5").episodes["length"].tolist() == [1, 0, 2]


def test_a_dataset_without_any_step_is_refused(tmp_path):
    table = Episodes(np.zeros(3, int), np.full(3, INCOMPLETE), finals=True)
    columns = {"robot_observation": np.zeros((3, 3)), "actions": np.zeros((3, 2, 1)), "rewards": np.zeros(3)}
    empty = table.columns({name: x.astype("f4") for name, x in columns.items()}, small_columns().attributes)
    judged(tmp_path, empty, "no row has an action")


def test_an_attribute_that_is_no_text_or_number_is_refused(tmp_path):
    for number, value in enumerate((np.zeros(3), h5py.Empty("f"), np.bytes_(b"\xff"))):
        path = tmp_path / f"{number}.h5"
        write(path, own())
        with h5py.File(path, "a") as file:
            file.attrs["note"] = value
        with pytest.raises(DataError, match="attribute 'note'"):
            read(path)
