"""Asynchronous evaluation: the same files as synchronous evaluation, nothing lost, no process left, errors in one line."""

import io
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from tests.algos.test_contract import build, train
from tests.processes import children
from tests.run.runs import differences, environment, results, run, start, succeeded
from tests.support import continuous_spec, random_batch
from vgm2p.errors import ServiceError
from vgm2p.execution.beside import LENGTH, Evaluator
from vgm2p.execution.evaluation import PRECISIONS
from vgm2p.execution.rollout import in_precision
from vgm2p.rng import ActKey
from vgm2p.run.checkpoint import checkpoint_name
from vgm2p.run.csv_log import CsvLog
from vgm2p.types import Seen

ASIDE = {"eval_async": "true"}


@pytest.fixture(scope="module")
def blocking(tmp_path_factory):
    out = tmp_path_factory.mktemp("beside") / "blocking"
    succeeded(run(out))
    return out


def test_files_equal_those_of_blocking_evaluation(blocking, tmp_path):
    out = tmp_path / "aside"
    succeeded(run(out, **ASIDE))
    assert differences(blocking, out) == []


EVALUATOR = "vgm2p.execution.beside"

# the child's environment steps take so long that its evaluation is still under way whenever it is looked at
SLOW_CHILD = """
import vgm2p.execution.beside as evaluator
CODE = "import sys, time, runpy, vgm2p.envs.mujoco as mujoco; real = mujoco.MAMuJoCo.step;" \
    "mujoco.MAMuJoCo.step = lambda *a: (time.sleep(0.5), real(*a))[1];" \
    "runpy.run_module('vgm2p.execution.beside', run_name='__main__')"
evaluator.Evaluator.command = (evaluator.sys.executable, "-c", CODE, "vgm2p.execution.beside")
"""


def evaluated(out) -> set[str]:
    """Return the updates that episodes.csv holds. The untrained policy is not evaluated beside training."""
    return {row["update"] for row in CsvLog(out / "episodes.csv").rows()}


def wait_for_evaluator(process):
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        found = children(process.pid, EVALUATOR)
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError("no evaluation process started")


@pytest.mark.parametrize("kind", [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)])
def test_a_run_stopped_while_an_evaluation_is_pending_ends_the_same(blocking, tmp_path, kind):
    out = tmp_path / "stopped"
    process = start(out, SLOW_CHILD, **ASIDE)
    (child,) = wait_for_evaluator(process)
    time.sleep(1.5)
    process.send_signal(kind)
    _, errors = process.communicate(timeout=240)
    if kind == signal.SIGTERM:
        assert process.returncode == 143, errors
        assert evaluated(out) == {"0"}  # it did not wait for the evaluation
    child.wait(timeout=60)  # no process is left
    succeeded(run(out, **ASIDE))
    assert differences(blocking, out) == []


def test_training_does_not_wait_for_the_evaluation_of_the_update_that_it_saves(tmp_path):
    out = tmp_path / "ahead"
    process = start(out, SLOW_CHILD, **ASIDE)
    checkpoint, deadline = out / "checkpoints" / checkpoint_name(20), time.monotonic() + 240
    while not checkpoint.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    found = checkpoint.exists(), children(process.pid, EVALUATOR), evaluated(out)
    process.kill()
    process.communicate(timeout=240)
    assert found[0]
    assert found[1]
    assert found[2] == {"0"}


def errors_after(*sizes):
    """Return what evaluation processes print as errors if their input ends after `sizes` bytes of a message."""
    message = io.BytesIO()
    torch.save({"config": {"a": torch.zeros(100_000)}}, message)
    whole = LENGTH.pack(message.tell()) + message.getvalue()
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    command = [sys.executable, "-m", "vgm2p.execution.beside"]
    children = [subprocess.Popen(command, env=environment(), **pipes) for _ in sizes]
    for child in children:
        child.stdout.close()  # nobody reads an answer
    return [child.communicate(whole[:size])[1] for child, size in zip(children, sizes, strict=True)]


def test_a_trainer_killed_while_it_sends_a_snapshot_leaves_no_traceback():
    """The input ends within the length of the message, within its content, and after it, when it is answered."""
    assert errors_after(5, 50_000, None) == [b"", b"", b""]


BROKEN_CHILD = SLOW_CHILD.replace("time.sleep(0.5)", "sys.exit(7)")


def test_an_evaluation_process_that_dies_ends_the_run_in_one_line(tmp_path):
    done = run(tmp_path / "dead", BROKEN_CHILD, **ASIDE)
    assert done.returncode == 69
    assert done.stderr.count("\n") == 1
    assert "asynchronous evaluation failed" in done.stderr
    again = run(tmp_path / "dead")
    assert again.returncode == 0
    assert results(tmp_path / "dead")["updates"] == 60


def test_a_child_that_hangs_is_killed():
    spec = continuous_spec()
    evaluator = Evaluator({}, patience=2.0)
    evaluator.submit(20, build("bc_gaussian", spec), 1)
    (child,) = children(os.getpid(), EVALUATOR)
    child.suspend()
    with pytest.raises(ServiceError, match="it hung for 2 s"):
        evaluator.collect(wait=100.0)
    child.wait(60)
    evaluator.close()


# answers the second message with the names that the first one holds
READER = """
import json, sys
from vgm2p.execution.beside import receive
first, second = receive(sys.stdin.buffer), receive(sys.stdin.buffer)
print(json.dumps({"error": " ".join(sorted(first))}), flush=True)
sys.stdin.buffer.read()
"""


def test_a_child_after_another_gets_all_of_its_own_messages(monkeypatch):
    monkeypatch.setattr(Evaluator, "command", (sys.executable, "-c", READER))
    evaluator, algorithm = Evaluator({}), build("bc_gaussian", continuous_spec())
    for _ in range(3):
        evaluator.submit(20, algorithm, 1)
        with pytest.raises(ServiceError, match="config spec"):
            evaluator.collect(wait=100.0)
        evaluator.close()


def test_actions_in_bf16_stay_near_those_in_float32():
    spec = continuous_spec()
    for name in ("vgm2p", "vgm2p_fm", "bc_gaussian"):
        algorithm = build(name, spec)
        train(algorithm, spec, 20)
        obs = random_batch(spec, rows=50).obs
        actions = []
        for dtype in PRECISIONS.values():
            with in_precision("cpu", dtype), torch.inference_mode():
                actions.append(algorithm.act(Seen(obs), None, ActKey([0], 0, list(range(50))))[0])
        assert not torch.equal(*actions), name
        torch.testing.assert_close(*actions, atol=0.03, rtol=0.0)
