"""Child processes end when their parent ends; other processes do not."""

import subprocess
import sys

import psutil
import pytest

from tests.run.runs import environment
from vgm2p.io.processes import PARENT, child_environment, end_with_parent

# the child says when it waits, and ends in its own way; the parent lives until its standard input ends
CHILD = """
import signal, sys, time
from vgm2p.io.processes import end_with_parent
def stop(signum, frame):
    print("asked to stop", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
end_with_parent()
print("ready", flush=True)
time.sleep(600)
"""
PARENT_CODE = """
import subprocess, sys
from vgm2p.io.processes import child_environment
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], env=child_environment())
print(child.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("kill", [True, False])
def test_a_child_is_asked_to_stop_when_its_parent_is_gone_and_not_before(kill):
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT_CODE, CHILD],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    child = psutil.Process(int(parent.stdout.readline()))
    assert parent.stdout.readline() == "ready\n"
    with pytest.raises(psutil.TimeoutExpired):
        child.wait(1.5)
    if kill:
        parent.kill()
    else:
        parent.stdin.close()
    parent.wait(60)
    assert parent.stdout.readline() == "asked to stop\n"
    child.wait(60)


def test_a_process_that_is_no_child_of_ours_waits_for_nobody(monkeypatch):
    monkeypatch.delenv(PARENT, raising=False)
    before = [thread.id for thread in psutil.Process().threads()]
    end_with_parent(lambda: None)
    assert [thread.id for thread in psutil.Process().threads()] == before


def test_a_grandchild_does_not_wait_for_its_grandparent():
    code = (
        "import os; from vgm2p.io.processes import PARENT, end_with_parent; end_with_parent(); "
        "print(PARENT in os.environ)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=child_environment(), capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
