"""Temporary folders: those of killed processes go, those of living ones stay."""

import os
import subprocess
import sys

import pytest

from tests.run.runs import environment
from vgm2p.io.scratch import scratch_folder

HOLD = """
import time
from vgm2p.io.scratch import Scratch
scratch = Scratch("test")
(scratch.path / "large").write_text("left over")
print(scratch.path, flush=True)
time.sleep(600)
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder for temporary files of this test."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_is_removed_after_its_block(place):
    with pytest.raises(ZeroDivisionError), scratch_folder("test") as folder:
        (folder / "x").mkdir()
        assert folder.parent == place
        raise ZeroDivisionError
    assert names(place) == []


def test_folders_of_killed_processes_are_removed_and_nothing_else(place):
    (place / "vgm2p-mine").mkdir()
    (place / "elsewhere").mkdir()
    (place / "elsewhere" / ".alive").touch()
    (place / "vgm2p-link").symlink_to(place / "elsewhere")
    command = [sys.executable, "-c", HOLD]
    holders = [
        subprocess.Popen(command, env={**environment(), "TMPDIR": str(place)}, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    dead, alive = (holder.stdout.readline().strip().rpartition("/")[2] for holder in holders)
    holders[0].kill()
    holders[0].wait()
    with scratch_folder("test") as folder:
        assert names(place) == sorted(["elsewhere", "vgm2p-link", "vgm2p-mine", alive, folder.name])
    assert names(place / alive) == [".alive", "large"]
    holders[1].kill()
    holders[1].wait()
    assert dead not in names(place)


def test_a_folder_of_a_process_that_was_killed_before_it_had_a_name_is_removed(place):
    for name in (".vgm2p-old", ".vgm2p-new", "elsewhere"):
        (place / name).mkdir()
        (place / name / ".alive").touch()
    (place / ".vgm2p-link").symlink_to(place / "elsewhere")
    for path in (".vgm2p-old/.alive", ".vgm2p-old", "elsewhere/.alive", "elsewhere"):
        os.utime(place / path, (0, 0))
    with scratch_folder("test"):
        pass
    assert names(place) == [".vgm2p-link", ".vgm2p-new", "elsewhere"] and names(place / "elsewhere") == [".alive"]
