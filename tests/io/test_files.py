"""Logs, locks and checkpoints on disk: after a failure, the new or the old file is complete."""

import json
import os
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from vgm2p.errors import DataError, MissingInput, StorageError
from vgm2p.io.files import remove_stale, require_file, write_atomic, written_aside
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


@pytest.mark.parametrize(("name", "word"), [("-y.h5", "-y.h5"), ("a\x1b[2J.h5", r"$'a\U0000001b[2J.h5'")])
def test_the_command_for_a_file_without_permission_can_be_typed(tmp_path, monkeypatch, name, word):
    monkeypatch.chdir(tmp_path)
    Path(name).touch()
    monkeypatch.setattr(os, "access", lambda *unused: False)  # root may read everything
    with pytest.raises(MissingInput) as raised:
        require_file(Path(name), "missing")
    assert raised.value.line.endswith(f"run `chmod u+r -- {word}`")


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


class Made:
    """Something that a pickle calls when it is read."""

    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


def rename_pickle(path):
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(f"{path}.new", "w") as new:
        for name in old.namelist():
            new.writestr(name.replace("data.pkl", "data.PKL"), old.read(name))
    os.replace(f"{path}.new", path)


def older_format(path):
    """torch reads the begin of the file, a reader of archives its end."""
    archive = path.read_bytes()
    content = {"vgm2p": Made(bytearray, (1 << 20,))}
    torch.save(content, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes() + archive)


@pytest.mark.parametrize(
    ("made", "change"),
    [
        (Made(bytearray, (1 << 20,)), None),
        (Made(bytearray, (1 << 20,)), rename_pickle),
        (torch.zeros(2), older_format),
        (Made(torch.UntypedStorage, (1 << 20,)), None),
        (Made(OrderedDict, (torch.zeros(1).expand(1 << 10, 2),)), None),
        (Made(set, (torch.zeros(1).expand(1 << 10),)), None),
    ],
    ids=["bytes", "bytes under another name", "older format", "storage", "pairs of a tensor", "set of a tensor"],
)
def test_a_checkpoint_makes_no_more_than_it_holds(tmp_path, made, change):
    path = tmp_path / checkpoint_name(1)
    torch.save({"vgm2p": {"updates": 1, "more": made}}, path)
    if change is not None:
        change(path)
    with pytest.raises(DataError, match=r"it calls|not a checkpoint"):
        read_checkpoint(path)


@pytest.mark.parametrize("place", ["state_dict", "optimizer_states", "vgm2p"])
def test_one_stored_number_stands_for_no_large_tensor(tmp_path, place):
    path = tmp_path / checkpoint_name(1)
    content = {"state_dict": {}, "optimizer_states": {}, "vgm2p": {"updates": 1}}
    content[place]["w"] = torch.zeros(1).expand(1000, 1000)
    torch.save(content, path)
    with pytest.raises(DataError, match="far larger than the file"):
        read_checkpoint(path)


def test_what_a_run_stores_is_read(tmp_path):
    tensors = [torch.ones(3, 4).to(kind) for kind in (torch.bfloat16, torch.float16, torch.float64, torch.bool)]
    tied = torch.arange(30000.0).view(100, 300)
    views = [tied, tied, tied[:50], tied.T, torch.nn.Parameter(torch.ones(2))]
    content = {"vgm2p": {"updates": 1, "type": torch.int8}, "w": OrderedDict(enumerate([*tensors, *views]))}
    torch.save(content, tmp_path / checkpoint_name(1))
    found = read_checkpoint(tmp_path / checkpoint_name(1))
    assert found["vgm2p"] == content["vgm2p"]
    assert all(torch.equal(found["w"][name], value) for name, value in content["w"].items())


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
