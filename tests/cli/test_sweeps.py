"""Sweeps: the plan before, the joint table after, cells that are refused, finished or stopped, words of sweeps."""

import contextlib
import io
import json
import os
import re
import tempfile
from pathlib import Path

import pytest

from tests.cli.answers import TINY, answer
from tests.run import zygote
from tests.run.runs import SHORT, environment, succeeded
from tests.run.runs import program as run_program
from vgm2p.io.shell import program
from vgm2p.run.sweep import Outcome, visible_devices
from vgm2p.sweeps.plan import conclude

ROBOTS = [*(word for word in TINY if word not in ("evaluate=none", "compare=[]")), "env.episode_limit=60"]
SWEEP = ["fit", "-m", "algo=bc_flow", "seed=0,1", *ROBOTS]


def short(place, *words):
    """Run a command whose episodes have 60 steps."""
    with tempfile.TemporaryDirectory() as scratch:
        return zygote.run(list(words), place, environment(), Path(scratch), SHORT)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A working folder with a finished sweep of two cells, and what it printed."""
    place = tmp_path_factory.mktemp("sweep")
    (place / "runs").mkdir()
    (place / "runs/last").symlink_to("earlier")
    return place, succeeded(short(place, *SWEEP)).stdout


def test_a_sweep_says_its_plan_first_and_ends_with_one_table(swept):
    _, out = swept
    assert out.startswith("sweep        2 cells: 2 to begin; 8 updates to do\n")
    *_, joint = out.split("sweep        2 cells finished")
    rows = [line for line in joint.splitlines() if line.startswith("| bc_flow")]
    assert len(rows) == 1 and len(re.findall(r"-?\d+", rows[0].split("|")[-2])) == 2  # a return per seed


def test_a_sweep_leaves_runs_alone(swept):
    """The folder has no `multirun.yaml`, `runs/last` stays, and no cell has the comparison runs of the experiment."""
    place, _ = swept
    assert {path.name for path in place.iterdir()} == {"runs"}
    assert os.readlink(place / "runs/last") == "earlier"
    assert {path.name for path in place.glob("runs/*/*")} == {"bc_flow"}
    manifests = [json.loads(path.read_text()) for path in place.glob("runs/*/bc_flow/*/manifest.json")]
    assert [manifest["config"]["compare"] for manifest in manifests] == [[], []]


def test_finished_cells_are_not_started_and_tell_the_cost_of_the_others(swept):
    place, _ = swept
    done = short(place, *SWEEP, "seed=0,1,2", "optim.lr=0.001,-1")
    assert done.returncode == 2
    assert done.stdout.count("already finished: ") == 2
    assert (
        "sweep        6 cells: 2 finished, 1 to begin, 3 refused; 4 updates to do\ncost         about 0:0"
        in done.stdout
    )
    assert done.stdout.count(" updates)\n") == 1  # a cell that begins
    assert "sweep        3 cells finished" in done.stdout
    failed = done.stderr.partition("3 failed:\n")[2].splitlines()
    assert failed == [
        f"  exit 2  seed={seed} optim.lr=-1  optim.lr must be a number from 0, got -1" for seed in range(3)
    ]


def test_a_cell_has_the_folder_of_the_single_run(swept):
    """The plan composes the first seed only, and derives the others."""
    place, _ = swept
    done = short(place, "fit", "algo=bc_flow", "seed=1", "compare=[]", *ROBOTS)
    assert "already finished: " in succeeded(done).stdout


def test_a_finished_run_with_other_settings_is_no_cell(swept):
    place, _ = swept
    (folder,) = place.glob("runs/*/bc_flow/s0x1-*")
    words = [*SWEEP, "seed=0", f"out={folder.relative_to(place)}"]
    assert "sweep        1 cells: 1 finished; 0 updates to do" in succeeded(short(place, *words)).stdout
    done = short(place, *words, "optim.lr=0.5")
    assert done.returncode == 2 and "sweep        1 cells: 1 refused; 0 updates to do" in done.stdout
    assert "already finished" not in done.stdout
    assert f"{folder.relative_to(place)} was started with other settings: optim.lr" in done.stderr


def test_cells_that_share_a_folder_are_run_once_or_refused(swept):
    place, _ = swept
    twice = succeeded(short(place, *SWEEP, "seed=0,0"))
    assert "sweep        1 cells: 1 finished; 0 updates to do" in twice.stdout
    (folder,) = place.glob("runs/*/bc_flow/s0x1-*")
    done = short(place, *SWEEP, f"out={folder.relative_to(place)}")
    assert done.returncode == 2 and "sweep        2 cells: 1 finished, 1 refused; 0 updates to do" in done.stdout
    assert f"{folder.relative_to(place)} is the folder of an earlier cell, too; leave out out=, or" in done.stderr


def test_many_failures_with_one_message_are_told_in_four_lines():
    outcomes = [Outcome(69, "the hub does not answer", None, ["algo=x", f"seed={seed}"]) for seed in range(30)]
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors):
        assert conclude([*outcomes, Outcome(2, "seed is wrong", None, ["algo=x", "seed=a"])], False) == 69
    lines = errors.getvalue().strip().splitlines()
    assert lines[0] == "31 failed:" and lines[3] == "  exit 69  seed=2  the hub does not answer"
    assert lines[4:] == ["  ... and 27 more cells with this message", "  exit 2  seed=a  seed is wrong"]


@pytest.mark.parametrize(
    ("named", "devices"),
    [("0,3,GPU-5e", ["0", "3", "GPU-5e"]), ("-1", []), ("", []), ("1,-1,0", ["1"]), (" 2 , 0", ["2", "0"])],
)
def test_devices_are_those_that_cuda_would_see(monkeypatch, named, devices):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert visible_devices() == devices


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["hydra.sweeper.max_batch_size=0"],
            "hydra.sweeper.max_batch_size must be a whole number from 1, or null, got 0",
        ),
        (["hydra.sweeper.max_batch_size=many"], "must be a whole number from 1, or null, got 'many'"),
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=0"], "hydra.launcher.n_jobs must be a number of workers"),
    ],
)
def test_a_wrong_number_of_batches_or_workers_is_one_line(tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    code, text = answer([*SWEEP, *words])
    assert code == 2 and says in text and text.count("\n") == 1, text
    assert list(tmp_path.iterdir()) == []


def test_a_hub_that_does_not_answer_is_asked_once(tmp_path):
    sweep = ["fit", "-m", "experiment=smacv1_3m_good,smacv1_8m_good", "seed=0,1", "evaluate=none"]
    done = run_program(tmp_path, *sweep, HF_ENDPOINT="http://127.0.0.1:9", HF_HUB_OFFLINE="")
    assert done.returncode == 69
    assert "4 cells need data that cannot be fetched now, and are not started" in done.stdout
    lines = done.stderr.partition("4 failed:\n")[2].splitlines()
    assert ["(the hub does not answer)" in line for line in lines] == [False, False, True, True]
    assert list(tmp_path.iterdir()) == []


TERM = "import os, signal, threading\nthreading.Timer(1, os.kill, (os.getpid(), signal.SIGTERM)).start()\n"


def test_a_signal_while_cells_are_composed_ends_the_sweep_in_one_line(tmp_path):
    done = zygote.run(["fit", "-m", "+sweep=table2"], tmp_path, environment(), tmp_path, TERM)
    assert done.returncode == 143
    assert done.stderr == "vgm2p: stopped before the first cell began; nothing was changed\n"


@pytest.mark.parametrize("word", ["+sweep=table2", "sweep=table2", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"])
def test_words_of_sweeps_need_the_flag(word):
    code, text = answer(["fit", word, "seed=1"])
    word = f"+{word}" if word.startswith("sweep") else word
    command = f"{program()} fit -m {word} seed=1"
    assert (code, text) == (2, f"vgm2p: {word} is for several runs, which -m starts: {command}\n")


def test_options_may_stand_between_words():
    assert answer(["fit", "updates=4", "--cfg", "job", "-m", "seed=1"]) == (0, "")


WITHOUT = "import sys\nsys.modules['hydra_plugins.{}'] = None\n"


@pytest.mark.parametrize(
    ("word", "plugin", "extra"),
    [
        ("hydra/launcher=joblib", "hydra_joblib_launcher", "joblib"),
        ("hydra/launcher=submitit_slurm", "hydra_submitit_launcher", "slurm"),
        ("hydra/sweeper=optuna", "hydra_optuna_sweeper", "optuna"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(tmp_path, word, plugin, extra):
    done = zygote.run(["fit", "-m", word, "seed=0,1"], tmp_path, environment(), tmp_path, WITHOUT.format(plugin))
    assert done.returncode == 66
    assert done.stderr.startswith(f"vgm2p: {word} needs the extra {extra}; `")
    assert done.stderr.endswith(f"pip install 'vgm2p[{extra}]'`\n")
