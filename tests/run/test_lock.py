"""Locks: one living process per folder or output; the heartbeat decides where the operating system cannot know."""

import fcntl
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from tests.run.runs import environment
from vgm2p.errors import StorageError
from vgm2p.io.files import open_own
from vgm2p.run.csv_log import CsvLog
from vgm2p.run.lock import FolderLock, OutputLock, one_at_a_time

SOON = {"beat": 0.05, "patience": 0.4}  # a heart that beats fast, for tests


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def rows(*updates):
    return [{"update": u, "seed": 0, "loss": u / 7} for u in updates]


def test_a_folder_has_one_user(tmp_path):
    with FolderLock(tmp_path), pytest.raises(StorageError, match=f"process {os.getpid()} on this machine"):
        FolderLock(tmp_path).__enter__()
    assert names(tmp_path) == []


def test_a_lock_that_a_full_disk_cuts_off_leaves_no_file(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with pytest.raises(OSError, match=r"too large.*\.lock"):
            FolderLock(tmp_path).__enter__()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert names(tmp_path) == []


HOLD = "import sys, time; from pathlib import Path; from vgm2p.run.lock import FolderLock\nwith FolderLock(Path(sys.argv[1])):\n print('held', flush=True); time.sleep(60)"


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], env=environment(), stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(StorageError, match=f"process {holder.pid}"):
        FolderLock(tmp_path).__enter__()
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    said = []
    with FolderLock(tmp_path, said.append):
        assert said == [f"took over {tmp_path} from process {holder.pid} on this machine, which is dead"]
    assert names(tmp_path) == []


def test_a_recycled_pid_does_not_hold_a_lock(tmp_path):
    (tmp_path / ".lock").write_text(json.dumps({"pid": 1, "host": socket.gethostname()}))
    with FolderLock(tmp_path):
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()


@pytest.mark.parametrize("name", [".lock", "metrics.csv", "prepared.lock"])
def test_a_link_in_a_strangers_folder_is_not_written_through(name, tmp_path):
    """Attack: the lock or the log of a run folder is a link to a file of the user, which opening would empty."""
    mine, folder = tmp_path / "thesis.txt", tmp_path / "run"
    mine.write_text("mine")
    folder.mkdir()
    (folder / name).symlink_to(mine)
    with pytest.raises(StorageError, match="is a link"):
        if name == ".lock":
            FolderLock(folder).__enter__()
        elif name == "metrics.csv":
            CsvLog(folder / name).append(rows(5))
        else:
            with one_at_a_time(folder / name, "data", print):
                pass
    assert mine.read_text() == "mine"
    assert (folder / name).is_symlink()


def test_a_pipe_in_the_place_of_a_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / ".lock")
    with pytest.raises(StorageError, match="not a plain file"):
        FolderLock(tmp_path).__enter__()


def test_a_lock_file_that_is_replaced_before_it_is_locked_is_opened_again(tmp_path, monkeypatch):
    first, second = FolderLock(tmp_path), FolderLock(tmp_path)
    first.__enter__()
    lock = fcntl.flock

    def late(file, how):
        if first._file is not None:  # the holder leaves, and a third comes, between opening and locking
            first.__exit__()
            (tmp_path / ".lock").write_text("")
        lock(file, how)

    monkeypatch.setattr("vgm2p.io.flock.fcntl.flock", late)
    with second:
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()
    assert names(tmp_path) == []


ELSEWHERE = {"pid": 7, "host": "elsewhere"}
OTHER_BOOT = {"pid": 7, "host": socket.gethostname(), "boot": "another"}


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (json.dumps(ELSEWHERE), "process 7 on elsewhere"),
        (json.dumps({**ELSEWHERE, "pid": os.getpid()}), f"process {os.getpid()} on elsewhere"),
        (json.dumps(OTHER_BOOT), "process 7 on this machine"),
        ('{"pid": 7, "ho', "an unknown process"),
    ],
    ids=["another host", "another host, this number", "before the machine started again", "unreadable"],
)
@pytest.mark.parametrize("age", [-3600, 0, 3600])
def test_a_lock_from_elsewhere_is_taken_over_when_its_heart_has_stopped(tmp_path, content, name, age):
    """The clock of the other machine does not matter."""
    (tmp_path / ".lock").write_text(content)
    os.utime(tmp_path / ".lock", (time.time() + age,) * 2)
    said = []
    with FolderLock(tmp_path, said.append, **SOON):
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()
    assert said == [
        f"watching the lock of {name} for 0 s: it may still use {tmp_path}",
        f"took over {tmp_path} from {name}, which is dead",
    ]
    assert names(tmp_path) == []


UNREADABLE = {
    "no bytes of a text": b"\xff\xfe\x00",
    "a process without end": b'{"pid": Infinity, "host": "x"}',
    "too many digits": b'{"pid": ' + b"9" * 6000 + b', "host": "x"}',
    "too deep": b"[" * 100_000,
}


@pytest.mark.parametrize("what", UNREADABLE)
def test_a_lock_that_names_no_process_is_watched_and_taken_over(tmp_path, what):
    (tmp_path / ".lock").write_bytes(UNREADABLE[what])
    said = []
    with FolderLock(tmp_path, said.append, **SOON):
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()
    assert said[-1] == f"took over {tmp_path} from an unknown process, which is dead"


def test_a_lock_of_a_terabyte_is_not_read(tmp_path):
    with open(tmp_path / ".lock", "w") as file:
        file.truncate(1 << 40)
    with FolderLock(tmp_path, **SOON):
        assert (tmp_path / ".lock").stat().st_size < 1000


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_a_folder_or_a_pipe_in_the_place_of_a_lock_or_a_log_is_named(tmp_path, make):
    make(tmp_path / "file")
    for mode in ("a", "a+", "w"):
        with pytest.raises(StorageError, match="is not a plain file; delete it, or choose another folder"):
            open_own(tmp_path / "file", mode)


@pytest.fixture
def beating(tmp_path):
    """A lock from elsewhere whose holder lives until the test ends."""
    path, dead = tmp_path / ".lock", threading.Event()
    path.write_text(json.dumps(ELSEWHERE))

    def beat():
        while not dead.wait(0.05):
            os.utime(path)

    thread = threading.Thread(target=beat)
    thread.start()
    yield path
    dead.set()
    thread.join()


def test_a_living_holder_elsewhere_is_respected(tmp_path, beating):
    with pytest.raises(StorageError, match="on elsewhere; if it dies, the lock ends 5 s later; wait, or"):
        FolderLock(tmp_path, beat=0.05, patience=5.0).__enter__()
    assert json.loads(beating.read_text()) == ELSEWHERE


def test_the_heart_beats_while_the_program_computes_and_outlives_an_edit_of_its_file(tmp_path):
    """`sed -i` makes a new file; the holder renews it all the same, so it is not taken for dead."""
    with FolderLock(tmp_path, **SOON):
        path = tmp_path / ".lock"
        changed = json.dumps({**json.loads(path.read_text()), "host": "elsewhere"})
        path.unlink()
        path.write_text(changed)
        with pytest.raises(StorageError, match="on elsewhere"):
            FolderLock(tmp_path, beat=0.05, patience=5.0).__enter__()
    assert names(tmp_path) == []


def test_a_holder_whose_lock_was_taken_over_is_told_and_leaves_the_new_one(tmp_path):
    told = threading.Event()
    lines = []

    def lost(line):
        lines.append(line)
        told.set()

    with FolderLock(tmp_path, on_lost=lost, **SOON):
        (tmp_path / ".lock").unlink()
        (tmp_path / ".lock").write_text(json.dumps({**ELSEWHERE, "token": "theirs"}))
        assert told.wait(60)
    assert lines == [f"{tmp_path} was taken over by process 7 on elsewhere; this process ends, that one continues"]
    assert json.loads((tmp_path / ".lock").read_text())["host"] == "elsewhere"


def test_a_process_that_lost_its_lock_ends(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], env=environment(), stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    (tmp_path / ".lock").write_text(json.dumps(ELSEWHERE))
    assert "taken over by process 7 on elsewhere" in holder.stdout.read()
    assert holder.wait(60) == 74


def test_who_may_wait_gets_an_output_after_the_other(tmp_path):
    said = []
    first = OutputLock(tmp_path / "table").__enter__()
    threading.Timer(0.3, first.__exit__).start()
    with OutputLock(tmp_path / "table", said.append, wait=lambda: None):
        assert names(tmp_path) == [".table.lock"]
    assert said == [f"waiting for process {os.getpid()} on this machine, which uses {tmp_path / 'table'}"]
    assert names(tmp_path) == []


def test_of_many_processes_one_gets_the_lock(tmp_path):
    held = {"pid": 2**22 + 5, "host": socket.gethostname()}
    (tmp_path / ".lock").write_text(json.dumps(held))
    takers = [
        subprocess.Popen(
            [sys.executable, "-c", HOLD, str(tmp_path)],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for _ in range(4)
    ]
    deadline = time.monotonic() + 60
    while sum(taker.poll() is None for taker in takers) > 1 and time.monotonic() < deadline:
        time.sleep(0.1)
    winners = [taker for taker in takers if taker.poll() is None]
    for taker in takers:
        taker.kill()
    said = [taker.communicate()[0].count("held") for taker in takers]
    assert len(winners) == 1
    assert sum(said) == 1
