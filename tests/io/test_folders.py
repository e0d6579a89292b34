"""Folders that replace others: whatever fails, the old or the new one is there."""

import os

import pytest

from vgm2p.io.folders import folder_aside


@pytest.fixture
def path(tmp_path):
    found = tmp_path / "export"
    found.mkdir()
    (found / "x").write_text("old")
    return found


def written(path):
    with folder_aside(path) as folder:
        (folder / "x").write_text("new")


def only(path):
    """Return what the folder says, if nothing is left beside it."""
    assert list(path.parent.iterdir()) == [path]
    return (path / "x").read_text()


def test_a_new_folder_takes_the_place_of_the_old_one(path):
    written(path)
    assert only(path) == "new"


@pytest.mark.parametrize("fatal", [1, 2])
@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), KeyboardInterrupt()])
def test_the_old_folder_stays_when_a_rename_fails(path, monkeypatch, fatal, error):
    """Between the two renames, nothing has the name of the folder."""
    renames, real = [], os.replace

    def replace(source, target):
        renames.append(source)
        if len(renames) == fatal:
            raise error
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises((OSError, KeyboardInterrupt)):
        written(path)
    assert only(path) == "old"


@pytest.mark.parametrize("fails", [True, False])
def test_what_a_killed_writer_left_comes_back_before_the_next_one_writes(path, fails):
    path.rename(path.with_name(".export.0123abcd.old"))
    (path.with_name(".export.0123abcd.tmp")).mkdir()
    if fails:
        with pytest.raises(RuntimeError), folder_aside(path):
            raise RuntimeError
    else:
        written(path)
    assert only(path) == ("old" if fails else "new")
