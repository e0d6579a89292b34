"""The run folder: made without following links, and removed again where a run leaves it empty."""

import pytest

from vgm2p.errors import StorageError
from vgm2p.run.folder import RunFolder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_making_a_run_folder_touches_no_link(tmp_path):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".probe.tmp").symlink_to(tmp_path / "mine")
    with RunFolder(tmp_path / "run").made():
        pass
    assert (tmp_path / "mine").read_text() == "mine"
    assert names(tmp_path / "run") == [".probe.tmp"]


def test_a_run_folder_goes_again_if_it_was_made_here_and_is_empty(tmp_path):
    (tmp_path / "before").mkdir()
    with pytest.raises(ZeroDivisionError), RunFolder(tmp_path / "before" / "a" / "b" / "run").made():
        assert names(tmp_path / "before" / "a" / "b") == ["run"]
        (tmp_path / "before" / "a" / "mine").write_text("mine")
        raise ZeroDivisionError
    assert names(tmp_path / "before" / "a") == ["mine"]
    with RunFolder(tmp_path / "before" / "a").made():
        (tmp_path / "before" / "a" / "mine").unlink()
    assert names(tmp_path / "before") == ["a"]
    with RunFolder(tmp_path / "run").made():
        (tmp_path / "run" / "manifest.json").write_text("{}")
    assert names(tmp_path / "run") == ["manifest.json"]


def test_a_run_folder_that_cannot_be_made_leaves_no_parents(tmp_path):
    with pytest.raises(StorageError, match="cannot be written"), RunFolder(tmp_path / "new" / ("x" * 300)).made():
        pass
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(StorageError, match="cannot be written"), RunFolder(tmp_path / "link" / "run").made():
        pass
    assert names(tmp_path) == ["link"]
