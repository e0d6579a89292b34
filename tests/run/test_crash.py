"""Samples of `make test-crash` and `make test-soak`, and what they measure."""

import re
import subprocess
import sys

import numpy as np
import pytest

from tests.run.crash import COUNT, FAIL, KILL, TEAR, Trial, compiler, trials_of
from tests.run.runs import environment
from tests.run.soak import growth


def test_every_call_fails_and_is_the_last_and_writes_are_cut_off():
    calls = ["open a", "write a", "rename b"]
    modes = [(1, FAIL), (1, KILL), (2, FAIL), (2, KILL), (2, TEAR), (3, FAIL), (3, KILL)]
    assert [(trial.point, trial.mode) for trial in trials_of(calls)] == modes
    assert len({Trial(point, COUNT, "").error for point in range(3)}) == 3


@pytest.mark.slow
@pytest.mark.skipif(compiler() is None, reason="needs Linux and a C compiler")
@pytest.mark.parametrize(
    ("name", "every"), [("fit", 57), ("evaluate", 17), ("report", 23), ("collect", 97), ("convert", 41)]
)
def test_some_crash_points_end_with_the_same_bits(tmp_path, name, every):
    command = [sys.executable, "-m", "tests.run.crash", str(every), name]
    done = subprocess.run(command, env=environment() | {"TMPDIR": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r": [2-9] trials at \d+ points, 0 differences", done.stdout), done.stdout


def test_memory_and_files_that_grow_are_seen():
    seconds = np.arange(200.0)
    noise = np.sin(seconds)
    flat = np.stack([seconds, 400 + noise, 12 + 0 * seconds], 1)
    growing = np.stack([seconds, 400 + noise + 0.2 * seconds, 12 + seconds // 20], 1)
    memory, files = growth(flat)
    assert abs(memory) < 0.005 and abs(files) < 0.1
    memory, files = growth(growing)
    assert memory > 0.03 and files > 3
