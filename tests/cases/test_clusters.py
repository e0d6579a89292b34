"""Cases of clusters: signals, sweeps and their workers, locks of other machines, long runs."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from omegaconf import OmegaConf

from tests.cli.answers import TINY
from tests.processes import children
from tests.run.runs import differences, environment, program, run, start, succeeded
from tests.run.test_resume import WAIT, read_until, stopped_at
from tests.run.zygote import Child
from vgm2p.errors import Interrupted

SIGNALS = [signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP]


# --- signals (case 25)


def test_each_signal_saves_the_run_and_it_continues_bit_for_bit(whole, tmp_path):
    out = tmp_path / "stopped"
    for signum, when in zip(SIGNALS, [("UPDATE", 4), ("STEP", 70), ("UPDATE", 3)], strict=True):
        process = stopped_at(out, when)
        process.send_signal(signum)
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 128 + signum, errors
        assert errors.count("\n") == 1 and "state saved; the same command continues" in errors
        assert not (out / ".lock").exists()
    succeeded(run(out))
    assert differences(whole, out) == []


def test_under_nohup_a_hangup_stays_ignored(tmp_path):
    nohup = "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    process = start(tmp_path / "run", f"WHEN, GO = ('UPDATE', 4), '/'\n{nohup}{WAIT}")
    read_until(process, "WAITING")
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=240)
    assert process.returncode == 143


AFTER = "import os, signal, threading\nthreading.Timer({}, os.kill, (os.getpid(), signal.SIGTERM)).start()\n"


@pytest.mark.parametrize("seconds", [0.05, 0.2, 0.5, 1.0])
def test_a_signal_in_the_first_second_ends_the_command_in_one_line(tmp_path, seconds):
    """Attack 6: it came while OmegaConf composed the configuration, and ended as an error of the configuration."""
    done = run(tmp_path / "run", AFTER.format(seconds), updates=100_000, evaluate="none")
    assert done.returncode == 143
    assert done.stderr.startswith("vgm2p: stopped ") and done.stderr.count("\n") == 1


def test_no_library_turns_an_interruption_into_an_error_of_its_own():
    def end():
        raise Interrupted(signal.SIGTERM, "stopped")

    OmegaConf.register_new_resolver("ends", end, replace=True)
    with pytest.raises(Interrupted):
        OmegaConf.to_container(OmegaConf.create({"key": "${ends:}"}), resolve=True)


# --- sweeps (attacks 7, 8)

SWEEP = ["fit", "-m", "seed=0,1,2", *TINY, "updates=20", "eval_every=20"]


def folders(where):
    return sorted(path.parent.name[:2] for path in where.glob("runs/*/*/*/manifest.json"))


def finished(where):
    return sorted(path.parent.name[:2] for path in where.glob("runs/*/*/*/results.json"))


def test_a_signal_ends_a_sweep_and_the_same_command_continues_it(tmp_path):
    process = Child(SWEEP, tmp_path, environment(), f"WHEN, GO = ('UPDATE', 4), '/'{WAIT}")
    read_until(process, "WAITING")
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 143, errors
    assert errors.count("\n") == 1 and "state saved" in errors
    assert folders(tmp_path) == ["s0"] and finished(tmp_path) == []
    succeeded(program(tmp_path, *SWEEP))
    assert finished(tmp_path) == ["s0", "s1", "s2"]


PARALLEL = [*SWEEP, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
LONG = [word.replace("=20", "=1000000") for word in PARALLEL] + ["log_every=10"]


def training(where, log, count):
    """Wait until `count` runs of a sweep train, and return its process and its workers."""
    command = [sys.executable, "-m", "vgm2p", *LONG]
    with open(log, "w") as output:
        process = subprocess.Popen(command, cwd=where, env=environment(), stdout=output, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + 240
    while len(list(where.glob("runs/*/*/*/metrics.csv"))) < count and time.monotonic() < deadline:
        time.sleep(0.2)
    return process, psutil.Process(process.pid).children(recursive=True)


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_the_workers_of_joblib_save_their_runs(tmp_path, signum):
    process, workers = training(tmp_path, tmp_path / "log", 2)
    process.send_signal(signum)
    assert process.wait(60) == (-9 if signum == signal.SIGKILL else 128 + signum)
    again = subprocess.Popen(
        [sys.executable, "-m", "vgm2p", *LONG], cwd=tmp_path, env=environment(), stderr=subprocess.PIPE
    )
    _, alive = psutil.wait_procs(workers, 60)
    assert alive == []
    said = (tmp_path / "log").read_text()
    assert said.count("state saved; the same command continues from there") == 2
    time.sleep(30)
    again.send_signal(signal.SIGTERM)
    _, errors = again.communicate(timeout=60)
    assert again.returncode == 143, errors
    assert b"is used by" not in errors
    assert list(tmp_path.rglob(".lock")) == []


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_group_meets_workers_that_are_still_starting(tmp_path, signum):
    """Ctrl-C in a terminal reaches the workers, too: one that was importing died, and joblib killed all others."""
    command = [sys.executable, "-m", "vgm2p", *LONG]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if len(children(process.pid, "popen_loky_posix")) == 2:
            break
        time.sleep(0.05)
    os.killpg(process.pid, signum)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 128 + signum
    assert errors.splitlines()[-1].startswith(
        "vgm2p: the sweep was stopped: 0 of 3 cells are finished; the same command"
    )
    assert "Traceback" not in errors and "KeyboardInterrupt" not in errors


SEES = """import os, pathlib
from lightning import Callback
class Sees(Callback):
    def on_train_start(self, trainer, module):
        seen = f"{os.getpid()} {os.environ['CUDA_VISIBLE_DEVICES']}"
        (pathlib.Path(trainer.default_root_dir) / "device").write_text(seen)
"""


@pytest.mark.slow
def test_each_worker_of_joblib_has_a_device_of_its_own(tmp_path):
    """Three devices, as the environment variable names them: three workers for four cells, without n_jobs=."""
    (tmp_path / "sees.py").write_text(SEES)
    sweep = ["fit", "-m", "seed=0,1,2,3", *TINY, "+callbacks.sees._target_=sees.Sees", "hydra/launcher=joblib"]
    variables = {**environment(), "CUDA_VISIBLE_DEVICES": "0,3,GPU-5e"}
    done = subprocess.run(
        [sys.executable, "-m", "vgm2p", *sweep],
        cwd=tmp_path,
        env=variables,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    seen = [path.read_text().split() for path in tmp_path.glob("runs/*/*/*/device")]
    assert len(seen) == 4
    device_of = dict(seen)  # process -> its device
    assert all(device_of[process] == device for process, device in seen)
    assert len(set(device_of.values())) == len(device_of) <= 3 and set(device_of.values()) <= {"0", "3", "GPU-5e"}


DIES = """import os, pathlib, signal, time
from lightning import Callback
class Dies(Callback):
    def __init__(self, seed):
        self.seed = seed
    def on_train_start(self, trainer, module):
        if self.seed == 1:
            while len(list(pathlib.Path("runs").rglob("results.json"))) < 2:
                time.sleep(0.1)
            with open("deaths", "a") as file:
                file.write("x")
            os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_a_killed_worker_of_joblib_ends_its_cell_only(tmp_path):
    (tmp_path / "dies.py").write_text(DIES)
    dies = ["+callbacks.dies._target_=dies.Dies", "+callbacks.dies.seed=${seed}"]
    done = program(tmp_path, *PARALLEL, "updates=4", *dies)
    assert done.returncode == 69, done.stderr
    assert (tmp_path / "deaths").read_text() == "xxx"
    assert finished(tmp_path) == ["s0", "s2"] and "sweep        2 cells finished" in done.stdout
    assert done.stdout.count("sweep        a worker process was killed: 1 cells start again\n") == 2
    failed = done.stderr.partition("1 failed:\n")[2]  # after it, Python may name semaphores of the killed process
    assert failed.startswith("  exit 69  seed=1  its process or one beside it was killed")


# --- locks (case 26)


@pytest.mark.slow
@pytest.mark.parametrize("other", [{"host": "gpu-node-17"}, {"host": "gpu-node-17", "pid": 1}, {"boot": "another"}])
def test_a_requeued_run_continues_on_another_node(whole, tmp_path, other):
    out = tmp_path / "run"
    process = stopped_at(out, ("UPDATE", 44))
    process.kill()
    process.wait(60)
    held = json.loads((out / ".lock").read_text())
    (out / ".lock").write_text(json.dumps(held | other))
    done = succeeded(run(out))
    assert f"watching the lock of process {(held | other)['pid']}" in done.stdout
    assert "which is dead" in done.stdout
    assert differences(whole, out) == []


# --- long runs (attack 9)


def test_a_run_of_400_million_updates_begins_at_once(tmp_path):
    process = start(
        tmp_path / "run",
        f"WHEN, GO = ('UPDATE', 2), '/'{WAIT}",
        updates=400_000_000,
        eval_every=50_000,
        evaluate="none",
    )
    read_until(process, "WAITING")
    held = psutil.Process(process.pid).memory_info().rss
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=240)
    assert process.returncode == 143
    assert held < 1.2e9
