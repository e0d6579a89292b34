"""Cases of places: read-only caches, file systems that lack functions, several commands on one output."""

import errno
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import h5py
import pytest

from tests.cases.places import variables
from tests.cli.answers import TINY
from tests.datamodules.sources.test_hub import ID, VAULTS, place
from tests.datamodules.vaults.vault_writer import smac_like, write_vault
from tests.run.runs import environment, program, succeeded
from tests.support import RECORDED
from vgm2p.datamodules.layout.checks import check
from vgm2p.datamodules.sources.published import RULES, Published, VaultFolder
from vgm2p.datamodules.sources.recorded import Recorded
from vgm2p.datamodules.store.transitions import TransitionStore

__all__ = ["place"]  # the fixture
PUBLISHED = "og_marl/smac_v1/3m/Good"
LONG_RUN = ["fit", *TINY, "updates=1000000", "eval_every=1000000", "checkpoint_every=10", "log_every=10"]


# --- shared caches (case 23)

USE = """
import sys
from pathlib import Path
from vgm2p.datamodules.sources.published import Published, VaultFolder
from vgm2p.datamodules.sources.recorded import Recorded
from vgm2p.datamodules.store.transitions import TransitionStore
root, cache, vault, published = sys.argv[1:]
for path in (Path(cache) / "new", Path(cache) / "recorded" / "new"):
    try:
        path.write_text("")
    except OSError as error:
        print(error.strerror)
files = [*Recorded(root, ["halfcheetah-medium"], f"{cache}/recorded").resolve(), *VaultFolder(vault, cache, print).resolve()]
files += Published(published, root, cache).resolve()
TransitionStore.map(files[:1], Path(cache), "raw_onehot", "auto", "bootstrap", "full").close()
print("used", len(files))
"""


def test_a_shared_cache_may_be_read_only_if_everything_is_converted(tmp_path):
    root, cache, vault = tmp_path / "root", tmp_path / "cache", tmp_path / "mine" / "3m.vlt" / "Good"
    root.mkdir()
    shutil.copy(RECORDED / "halfcheetah-medium.hdf5", root)
    write_vault(vault, smac_like(40))
    files = Recorded(str(root), ["halfcheetah-medium"], str(cache / "recorded")).resolve()
    VaultFolder(str(vault), str(cache), print).resolve()
    published = Published(PUBLISHED, str(root), str(cache)).target
    published.parent.mkdir(parents=True)
    shutil.copy(files[0], published)
    with h5py.File(published, "r+") as file:
        file.attrs["conversion_rules"] = str(RULES)
    TransitionStore.map(files, cache, "raw_onehot", "auto", "bootstrap", "full").close()
    before = sorted(cache.rglob("*"))
    done = subprocess.run(
        [sys.executable, "-c", USE, str(root), str(cache), str(vault), PUBLISHED],
        env=environment() | variables(tmp_path, READ_ONLY=cache),
        capture_output=True,
        text=True,
    )
    assert done.stdout.count("Read-only file system") == 2  # the library works
    assert "used 3" in done.stdout, done.stderr
    assert sorted(cache.rglob("*")) == before


# --- file systems that lack functions (attack 16)

PLACES = """
from pathlib import Path
from vgm2p.io.files import write_atomic
from vgm2p.run.folder import link_last
from vgm2p.run.lock import FolderLock, one_at_a_time
folder = Path("runs/run")
folder.mkdir(parents=True)
for content in "ab":
    with FolderLock(folder, print), one_at_a_time(folder / "x.lock", "x", print):
        write_atomic(folder / "manifest.json", content)
link_last(folder, print)
print((folder / "manifest.json").read_text(), sorted(path.name for path in folder.iterdir()))
"""
LACKING = {"NO_FLOCK": errno.ENOSYS, "NO_FOLDER_SYNC": errno.EINVAL, "NO_LINK": errno.EPERM}
SAID = [
    "its file system has no locks",
    "data.cache has no locks",
    "cannot sync folders",
    "last does not point to this run",
]


@pytest.mark.parametrize("lock_error", [errno.ENOSYS, pytest.param(errno.ENOLCK, marks=pytest.mark.slow)])
def test_what_a_file_system_lacks_is_said_once_and_done_without(tmp_path, lock_error):
    done = subprocess.run(
        [sys.executable, "-c", PLACES],
        env=environment() | variables(tmp_path, **LACKING | {"NO_FLOCK": lock_error}),
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert "b ['manifest.json', 'x.lock']" in done.stdout, done.stderr
    assert [(done.stdout + done.stderr).count(line) for line in SAID] == [1, 1, 1, 1], done


CONVERT = """
import sys
from vgm2p.datamodules.sources.published import Published
published, root, cache, catalogue = sys.argv[1:]
print(Published(published, root, cache, None, catalogue).resolve())
"""


@pytest.mark.parametrize("answers", [{"NO_FLOCK": errno.ENOSYS}, {"NO_FLOCK": errno.ENOLCK}, {}])
def test_without_locks_only_old_files_of_other_conversions_are_deleted(place, answers):
    """A process that still writes may have made the young ones. With the lock, no other process can."""
    raw, folder = place / "root" / "raw" / "fixture" / "smac_v1", place / "cache" / "fixture" / "smac_v1" / "3m"
    raw.mkdir(parents=True), folder.mkdir(parents=True)
    shutil.copy(VAULTS / "smac_v1" / "3m.zip", raw)
    for name in ("00000000", "11111111"):
        (folder / f".Good.{name}.vault").mkdir()
        for path in (folder / f".Good.{name}.vault" / "d", folder / f".Good.h5.{name}.tmp"):
            path.touch()
    for path in (folder / ".Good.11111111.vault" / "d", *folder.glob(".Good*1*")):
        os.utime(path, (1e9, 1e9))
    words = [sys.executable, "-c", CONVERT, ID, place / "root", place / "cache", place / "catalogue.yaml"]
    done = subprocess.run(words, env=environment() | variables(place, **answers), capture_output=True, text=True)
    assert "Good.h5" in done.stdout, done.stderr
    left = [".Good.00000000.vault", ".Good.h5.00000000.tmp"] if answers else []
    assert sorted(path.name for path in folder.iterdir()) == [*left, "Good.h5"]


@pytest.mark.slow
def test_a_run_is_killed_and_continues_where_everything_is_lacking(tmp_path):
    lacking = environment() | variables(tmp_path, **LACKING)
    command = [sys.executable, "-m", "vgm2p", *LONG_RUN]
    process = subprocess.Popen(command, env=lacking, cwd=tmp_path)
    deadline = time.monotonic() + 240
    while not list(tmp_path.glob("runs/*/*/*/checkpoints/*.ckpt")) and time.monotonic() < deadline:
        time.sleep(0.2)
    process.kill()
    process.wait(60)
    again = subprocess.Popen(
        command, env=lacking, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    said = ""
    while "continuing after update" not in said:  # before, it watches the lock for 30 seconds
        line = again.stdout.readline()
        assert line, again.stderr.read()
        said += line
    assert "which is dead" in said
    again.terminate()
    _, errors = again.communicate(timeout=240)
    assert again.returncode == 143, errors
    assert errors.splitlines()[-1].startswith("vgm2p: stopped")
    assert [errors.count(line) for line in SAID[::2]] == [1, 1]


# --- outputs (attack 20)


def at_once(where, command, count=4):
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda _: program(where, *command), range(count)))


def test_of_four_recordings_at_once_one_is_made(tmp_path):
    command = [
        "collect",
        "env=mamujoco/6halfcheetah",
        "data.view=raw_onehot",
        "policy=random",
        "episodes=2",
        "out=x.h5",
    ]
    codes = sorted(done.returncode for done in at_once(tmp_path, command))
    assert codes == [0, 74, 74, 74]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.h5"]
    assert all(good for _, good, _ in check(tmp_path / "x.h5"))


def test_four_reports_at_once_are_all_made(whole, tmp_path):
    for done in at_once(tmp_path, ["report", str(whole), "out=page"]):
        succeeded(done)
    assert sorted(path.name for path in (tmp_path / "page").iterdir()) == ["curves.png", "table.csv", "table.md"]
