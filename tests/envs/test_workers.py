"""Worker processes: answers by number, time limits, deaths, and no processes left, whichever process dies first."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.processes import children, runs
from vgm2p.envs.workers import Lost, Pool
from vgm2p.errors import MissingInput, RolloutStopped

TOY = "tests.envs.test_workers:Toy"
WAIT = 60  # seconds for what takes under one on an idle machine


class Toy:
    """What the workers make: counts, misbehaves, has a child of its own."""

    def __init__(self, first=0):
        if first < 0:
            raise MissingInput("nothing to count; bring something")
        self.number = first
        self.child = subprocess.Popen(["sleep", "600"])

    def add(self, step):
        self.number += step
        return self.number

    def family(self):
        return os.getpid(), self.child.pid, os.environ["TMPDIR"]

    def hang(self):
        time.sleep(600)

    def die(self):
        print("last words", file=sys.stderr, flush=True)
        os._exit(3)

    def chat(self):
        Path(os.environ["TMPDIR"], "game.log").write_text("".join(f"line {i}\n" for i in range(80)))
        folder = Path(os.environ["TMPDIR"], "inner")
        folder.mkdir()
        (folder / "AppErrors.txt").write_bytes(b"no memory \xff\n")
        self.fail()

    def fail(self):
        raise ZeroDivisionError("by\nzero")


@pytest.fixture
def pool():
    found = Pool(TOY, {"first": 10})
    yield found
    found.close()


def workers():
    """Return the worker processes that this one has started and that still run."""
    return children(os.getpid(), "vgm2p.envs.workers")


def gone(pids, seconds=WAIT):
    """Whether the processes end within `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not any(runs(pid) for pid in pids):
            return True
        time.sleep(0.05)
    return False


def test_workers_have_numbers_and_states_of_their_own(pool):
    assert pool.ask({4: ("add", 1), 7: ("add", 2)}, WAIT) == {4: 11, 7: 12}
    assert pool.ask({7: ("add", 2)}, WAIT) == {7: 14}
    assert pool.ask({4: ("add", 0)}, WAIT) == {4: 11}
    families = pool.ask({4: ("family",), 7: ("family",)}, WAIT)
    assert len({pid for pid, *_ in families.values()}) == 2


@pytest.mark.parametrize(
    ("method", "seconds", "cause"),
    [
        ("hang", 5, "no answer within 5 s"),
        ("die", WAIT, "code 3: last words"),
        ("fail", WAIT, "ZeroDivisionError: by zero"),
    ],
)
def test_a_failing_worker_is_lost_with_its_children_and_the_others_continue(pool, method, seconds, cause):
    families = pool.ask({0: ("family",), 1: ("family",)}, WAIT)
    answers = pool.ask({0: (method,), 1: ("add", 1)}, seconds)
    assert answers[1] == 11
    assert isinstance(answers[0], Lost) and cause in answers[0].cause
    assert gone(families[0][:2]) and not Path(families[0][2]).exists()
    assert pool.ask({0: ("add", 1), 1: ("add", 1)}, WAIT) == {0: 11, 1: 12}


def test_the_last_lines_of_every_log_of_a_lost_worker_are_kept(pool):
    lost = pool.ask({0: ("chat",), 1: ("die",)}, WAIT)
    lines = lost[0].log.splitlines()
    assert lines[:3] == ["== game.log (last 50 lines)", "line 30", "line 31"]
    assert lines[50:] == ["line 79", "== inner/AppErrors.txt (last 1 lines)", "no memory \ufffd"]
    assert lost[1].log.splitlines() == ["== log (last 1 lines)", "last words"]


def test_a_worker_killed_from_outside_is_lost_with_its_children(pool):
    worker, child, _ = pool.ask({0: ("family",)}, WAIT)[0]
    os.kill(worker, signal.SIGKILL)
    assert "code -9" in pool.ask({0: ("add", 1)}, WAIT)[0].cause
    assert gone([worker, child])


def test_a_part_that_a_worker_misses_raises_the_same_error_here():
    pool = Pool(TOY, {"first": -1})
    with pytest.raises(MissingInput, match="bring something"):
        pool.ask({0: ("add", 1), 1: ("add", 1)}, WAIT)
    assert workers() == []


def test_closing_ends_all_workers_and_a_request_starts_new_ones(pool):
    worker, child, scratch = pool.ask({0: ("family",)}, WAIT)[0]
    pool.close()
    assert gone([worker, child]) and not Path(scratch).exists()
    assert pool.ask({0: ("add", 5)}, WAIT) == {0: 15}


PARENT = """
import signal, sys, time
from vgm2p.envs.workers import Pool
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
pool = Pool(sys.argv[1], {})
worker, child, scratch = pool.ask({0: ("family",)}, 60)[0]
try:
    print(worker, child, scratch, flush=True)
    BODY
except KeyboardInterrupt:
    print(pool.ask({0: ("add", 1)}, 60)[0], flush=True)
    pool.close()
"""


def parent(body):
    return subprocess.Popen(
        [sys.executable, "-c", PARENT.replace("BODY", body), TOY],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize("body", ["time.sleep(600)", "pool.ask({0: ('hang',)}, 600)"])
def test_nothing_outlives_a_parent_that_is_killed(body):
    process = parent(body)
    worker, child, scratch = process.stdout.readline().split()
    process.kill()
    process.wait()
    assert gone([int(worker), int(child)]) and not Path(scratch).exists()


def test_ctrl_c_reaches_the_parent_alone():
    # short sleeps: a signal just before a single long one would wait for its end
    process = parent("[time.sleep(0.1) for _ in range(6000)]")
    worker = int(process.stdout.readline().split()[0])
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=WAIT)
    assert out.strip() == "1" and err == ""
    assert gone([worker])


def test_a_stop_ends_the_waiting_and_the_next_request_starts_new_workers(pool):
    family = pool.ask({0: ("family",)}, WAIT)[0]
    asked = iter([False, False, True])
    with pytest.raises(RolloutStopped):
        pool.ask({0: ("hang",), 1: ("hang",)}, 600, lambda: next(asked))
    assert gone(family[:2])
    assert workers() == []
    assert pool.ask({0: ("add", 1)}, WAIT) == {0: 11}
