"""Logs, locks and checkpoints on disk: after a failure, the new or the old file is complete."""

import json
import os

import pytest
import torch

from vgm2p.errors import DataError, MissingInput, StorageError
from vgm2p.io.files import remove_stale, write_atomic, written_aside
from vgm2p.run.checkpoint import DurableCheckpointIO, checkpoint_name, newest_intact, prune, read_checkpoint, update_of
from vgm2p.run.csv_log import CsvLog
from vgm2p.run.folder import link_last, read_json, write_json


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# --- files and logs


def test_a_writer_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "x"
    write_atomic(path, "old")
    with pytest.raises(RuntimeError, match="half way"), written_aside(path) as temporary:
        temporary.write_text("ne")
        raise RuntimeError("half way")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["x"]


def test_the_temporary_file_of_a_living_writer_stays(tmp_path):
    with written_aside(tmp_path / "x") as temporary:
        remove_stale(tmp_path, "x")
        temporary.write_text("new")
        left = tmp_path / ".x.0123abcd.tmp"
        left.touch()
        remove_stale(tmp_path, "x")
    assert names(tmp_path) == ["x"] and (tmp_path / "x").read_text() == "new"


def test_json_is_plain_and_finite(tmp_path):
    write_json(tmp_path / "x.json", {"b": [1.5, float("nan")], "a": (float("inf"), None), 3: True})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": [None, None], "b": [1.5, None], "3": True}
    (tmp_path / "x.json").write_text("[1]")
    with pytest.raises(DataError, match="not a JSON object"):
        read_json(tmp_path / "x.json", "it")
    with pytest.raises(MissingInput):
        read_json(tmp_path / "y.json", "it")


def rows(*updates):
    return [{"update": u, "seed": s, "loss": u / 7 + s} for u in updates for s in (0, 1)]


def test_a_log_is_cut_back_to_an_update_and_written_on(tmp_path):
    log, whole = CsvLog(tmp_path / "log.csv"), CsvLog(tmp_path / "whole.csv")
    for u in (5, 10, 15):
        log.append(rows(u))
    for u in (5, 10, 20):
        whole.append(rows(u))
    log.truncate(12)
    assert [row["update"] for row in log.rows()] == ["5", "5", "10", "10"]
    log.append(rows(20))
    assert log.path.read_bytes() == whole.path.read_bytes()
    assert float(log.rows()[2]["loss"]) == 10 / 7
    log.truncate(0)
    assert not log.path.exists()


def test_an_incomplete_last_line_is_dropped(tmp_path):
    log = CsvLog(tmp_path / "log.csv")
    log.append(rows(5, 10))
    whole = log.path.read_bytes()
    for cut in range(1, 12):
        log.path.write_bytes(whole[:-cut])
        assert [row["update"] for row in log.rows()] == ["5", "5", "10"]
        log.truncate(5)
        assert log.path.read_bytes() == whole[: whole.index(b"10,")]


def test_last_points_to_runs_below_its_folder_only(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("runs/a/b", "runs/a/c", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "manifest.json").write_text("{}")
    link_last(tmp_path / "elsewhere", print)
    assert not (tmp_path / "runs/last").exists()
    for name in ("b", "c"):
        link_last(tmp_path / "runs/a" / name, print)
        assert (tmp_path / "runs/last").resolve() == tmp_path / "runs/a" / name
    assert names(tmp_path / "runs") == ["a", "last"]


# --- checkpoints


def save(folder, update, value=None):
    path = folder / checkpoint_name(update)
    DurableCheckpointIO().save_checkpoint({"vgm2p": {"updates": update}, "w": torch.full((5,), value or update)}, path)
    return path


def test_the_newest_intact_checkpoint_is_taken_and_newer_ones_are_named(tmp_path):
    for update in (10, 20, 30):
        save(tmp_path, update)
    (tmp_path / checkpoint_name(30)).write_bytes(b"x" * 50)
    path, notices = newest_intact(tmp_path)
    assert update_of(path) == 20
    assert len(notices) == 1
    assert checkpoint_name(30) in notices[0]
    assert read_checkpoint(path)["vgm2p"]["updates"] == 20


def test_pruning_keeps_the_newest(tmp_path):
    for update in (10, 20, 30):
        save(tmp_path, update)
    prune(tmp_path, 2)
    assert [name for name in names(tmp_path) if name.endswith(".ckpt")] == [checkpoint_name(20), checkpoint_name(30)]
    assert len(names(tmp_path)) == 4


def test_a_failed_save_keeps_the_previous_checkpoint(tmp_path, monkeypatch):
    path = save(tmp_path, 10, 1)
    before = path.read_bytes()
    monkeypatch.setattr(torch, "save", lambda *unused: (_ for _ in ()).throw(RuntimeError("no space left")))
    with pytest.raises(StorageError, match="bytes needed"):
        save(tmp_path, 10, 2)
    assert path.read_bytes() == before
    assert len(names(tmp_path)) == 2


class Evil:
    def __reduce__(self):
        return os.system, ("touch pwned",)


def test_a_checkpoint_executes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / checkpoint_name(1)
    torch.save({"vgm2p": Evil()}, path)
    with pytest.raises(DataError, match="cannot be read"):
        read_checkpoint(path)
    assert names(tmp_path) == [path.name]


# --- links


def test_a_link_is_replaced_by_the_file_that_is_renamed_to_its_place(tmp_path):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "status.json").symlink_to(tmp_path / "mine")
    write_atomic(tmp_path / "status.json", "{}")
    assert (tmp_path / "mine").read_text() == "mine"
    assert (tmp_path / "status.json").read_text() == "{}" and not (tmp_path / "status.json").is_symlink()


def test_a_new_temporary_file_is_no_link(tmp_path, monkeypatch):
    (tmp_path / "mine").write_text("mine")
    monkeypatch.setattr("vgm2p.io.files.secrets.token_hex", lambda count: "00112233")
    (tmp_path / ".x.00112233.tmp").symlink_to(tmp_path / "mine")
    with pytest.raises(FileExistsError):
        write_atomic(tmp_path / "x", "new")
    assert (tmp_path / "mine").read_text() == "mine"
    assert not (tmp_path / "x").exists()
