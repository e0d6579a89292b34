"""Runs on mapped data against runs on resident data: the same files, whatever ends them."""

import os
import signal

import pytest
import torch

from tests.run.runs import content, differences, newest, run, start, succeeded
from vgm2p.errors import ConfigError
from vgm2p.training.session import capture_of

# draws wait, and say so
SLOW = """
import time
from vgm2p.datamodules.store.transitions import TransitionStore
draw = TransitionStore.draw
def slowly(*a):
    print("T", flush=True)
    time.sleep(0.02)
    return draw(*a)
TransitionStore.draw = slowly
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("resident") / "run"
    done = succeeded(run(out))
    assert "MB resident, of" in done.stdout
    return out


def test_a_run_on_mapped_data_is_that_on_resident_data(whole, tmp_path):
    done = succeeded(run(tmp_path / "run", data__max_resident=1))
    assert "mapped from disk" in done.stdout
    assert differences(whole, tmp_path / "run") == []


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_and_another_way_to_hold_the_data_goes_on(signum, whole, tmp_path):
    out = tmp_path / "run"
    process = start(out, SLOW, data__max_resident="1kB")
    assert "T\n" in iter(process.stdout.readline, "")
    os.kill(process.pid, signum)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signum
    assert len(errors.strip().splitlines()) == 1, errors
    assert 0 < content(out)["vgm2p"]["updates"] < 60
    assert newest(out).exists()
    assert run(out).returncode == 0
    assert differences(whole, out) == []


def test_an_error_of_the_disk_is_one_line(tmp_path):
    broken = (
        "import vgm2p.datamodules.store.mapped as m\ndef bad(self, rows): raise OSError(5, 'Input/output error', 'flat')\n"
        "def to(self, device): m.MappedRows.observations = bad\n"
        "m.MappedRows.to = to"
    )
    done = run(tmp_path / "run", broken, data__max_resident=1)
    assert done.returncode == 74
    assert done.stderr.strip().splitlines() == ["vgm2p: flat: Input/output error; choose another out="]


def test_capture_is_refused_on_mapped_data():
    said = []
    with pytest.raises(ConfigError, match=r"data\.max_resident"):
        capture_of(True, False, torch.device("cuda"), said.append)
    assert said == []
    assert capture_of("auto", False, torch.device("cuda"), said.append) == "off"
    assert said == ["capture      off: updates on data mapped from disk run eagerly"]
