"""A resumed run finds in its folder: damaged files, leftovers, unfinished evaluations, failed games, another machine."""

import json
import shlex
import subprocess
import sys

import pytest

from tests.cli.answers import TINY
from tests.run.runs import differences, environment, newest, program, run, succeeded
from vgm2p.report.runs import load_run
from vgm2p.report.variants import condition_warnings
from vgm2p.run.checkpoint import verify
from vgm2p.run.csv_log import CsvLog


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "whole"
    succeeded(run(out, eval_episodes=2))
    return out


def go_on(out, whole):
    succeeded(run(out, eval_episodes=2))
    assert differences(whole, out) == []


def test_a_damaged_checkpoint_is_put_aside_and_written_again(tmp_path):
    out = tmp_path / "run"
    assert run(out, updates=30).returncode == 0
    damaged = newest(out)
    damaged.write_bytes(damaged.read_bytes()[:-50])
    done = succeeded(run(out, updates=40))
    assert "skipped" in done.stdout
    assert "continuing after update 20" in done.stdout
    kept = sorted((out / "checkpoints").glob("*.ckpt"))
    assert damaged in kept
    for path in kept:
        verify(path)
    assert (out / "checkpoints" / f"{damaged.name}.aside").exists()


def test_a_run_that_ended_before_its_manifest_goes_on_and_changed_versions_are_reported(tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    for name in ("compare-vgm2p.log", "compare-vgm2p.json", ".lock.12.tmp"):
        (out / name).write_text("")
    done = succeeded(run(out, updates=10))
    assert "changed  " not in done.stdout
    manifest = json.loads((out / "manifest.json").read_text())
    now = manifest["environment_versions"]
    (out / "manifest.json").write_text(json.dumps({**manifest, "environment_versions": {**now, "mujoco": "2.0"}}))
    done = succeeded(run(out, updates=20, trainer__threads=2))
    assert f"changed      threads 1 -> 2, mujoco 2.0 -> {now['mujoco']}: the results may" in done.stdout
    (line,) = condition_warnings([load_run(out)])
    assert f"version of mujoco (2.0, then {now['mujoco']}: " in line


def test_a_partly_written_evaluation_is_repeated(whole, tmp_path):
    out = tmp_path / "run"
    assert run(out, eval_episodes=2, updates=41).returncode == 0
    newest(out).unlink()
    (out / "results.json").unlink()
    log = CsvLog(out / "episodes.csv")
    log.truncate(40)
    kept = log.rows()[:-1]
    log.path.unlink()
    log.append(kept)
    go_on(out, whole)


def test_a_final_evaluation_without_results_leaves_nothing_behind(whole, tmp_path):
    out = tmp_path / "run"
    assert run(out, eval_episodes=2, updates=30).returncode == 0  # no multiple of `eval_every`
    (out / "results.json").unlink()
    go_on(out, whole)


FAILING_GAMES = """
import vgm2p.callbacks.evaluate as evaluation
from vgm2p.errors import ServiceError
plain = evaluation.evaluate
def evaluate(algorithm, env, update, *rest, **named):
    if update == 40:
        raise ServiceError("games fail")
    return plain(algorithm, env, update, *rest, **named)
evaluation.evaluate = evaluate
"""


def test_training_until_a_failure_of_games_is_kept(whole, tmp_path):
    out = tmp_path / "run"
    done = run(out, FAILING_GAMES, eval_episodes=2, checkpoint_every=60, eval_async="false")
    assert done.returncode == 69
    (line,) = done.stderr.splitlines()
    assert "games fail; the same command continues from update 40" in line
    assert newest(out).name == "update-000000040.ckpt"
    go_on(out, whole)


def test_an_interrupted_sweep_can_be_interrupted_again_while_it_loads(tmp_path):
    """`graceful` of a cell that trained does not hold for the one after it."""
    code = (
        "from vgm2p.commands.fit import run as fit; from vgm2p.signals import StopFlag\n"
        "stop = StopFlag(); stop.graceful = True\n"
        "try: fit({}, stop)\n"
        "except BaseException: print(stop.graceful)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout == "False\n"


OWN_WORDS = [
    "+callbacks.mine._target_=tests.strangers.watching.Watch",
    "+callbacks.mine.path=it's watched.json",
    "+callbacks.mine.every=3",
    "~logger.tensorboard",
    "label=l${seed}",
]


def test_a_run_with_words_of_its_own_goes_on_by_the_command_that_its_error_shows(tmp_path):
    begun = program(tmp_path, "fit", *(word for word in TINY if "tensorboard" not in word), *OWN_WORDS, "out=a run")
    assert begun.returncode == 0, begun.stderr
    refused = program(tmp_path, "fit", "resume=a run", "updates=6")
    assert refused.returncode == 65 and refused.stderr.count("\n") == 1
    assert "'+callbacks.mine._target_=tests.strangers.watching.Watch' does more than set a value" in refused.stderr
    _, dash, name, *command = shlex.split(refused.stderr.rpartition("type it again: ")[2])
    assert [dash, name] == ["-m", "vgm2p"]
    done = succeeded(program(tmp_path, *command))
    assert "continuing after update 4" in done.stdout
    assert json.loads((tmp_path / "it's watched.json").read_text())["seen"] == [3, 6]
    assert not (tmp_path / "a run" / "tensorboard").exists()
