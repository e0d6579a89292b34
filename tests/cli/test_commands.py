"""The commands on real runs: what they print, write and refuse; a user's own configuration; sweeps."""

import json
import subprocess
import sys

import numpy as np
import pytest

import vgm2p
from tests.cli.answers import TINY, answer
from tests.run.runs import SMALL, environment, program, run, succeeded, words
from vgm2p.envs.mujoco import MAMuJoCo
from vgm2p.run.folder import RunFolder

NO_EVALUATION = [
    "evaluate=none",
    "updates=4",
    "net.width=8",
    "net.depth=1",
    "data.batch_size=4",
    "compare=[]",
    "logger.tensorboard=null",
    "callbacks.plot=null",
]


def test_fit_first_prints_what_it_uses(tmp_path):
    done = run(tmp_path / "run", **SMALL)
    lines = [line for line in done.stdout.splitlines() if not line.startswith("draws")]  # only the first run chooses
    first = [line.split()[0] for line in lines[:8]]
    assert first == ["algorithm", "note", "data", "sampling", "memory", "environment", "device", "folder"]
    assert "50 episodes, 50000 transitions, mean return 960.7, digest cb05512c99cb" in lines[2]
    assert "by return: temperature" in lines[3] and "resident" in lines[4]
    assert "HalfCheetah-v5 gymnasium" in lines[5]
    assert "precision 32-true, threads 1, K=7, S=1 (seed 0)" in lines[6]
    assert lines[8].startswith("environment works: the untrained policy returns")
    assert "update 20/20" in done.stdout and "updates/s" in done.stdout


def test_a_run_folder_has_all_promised_files(trained):
    folder = RunFolder(trained / "vgm2p_chosen")
    results, manifest = folder.read_results(), folder.read_manifest()
    assert manifest["command"][1:] == [
        "-m",
        "vgm2p",
        *words(folder.path, algo="vgm2p_chosen", callbacks__plot=None, **SMALL),
    ]
    expected = {
        "experiment",
        "algorithm",
        "environment",
        "data",
        "seeds",
        "updates",
        "episodes",
        "return_mean",
        "return_std",
        "return_ci95",
        "per_seed",
        "dataset_return_mean",
        "random_return_mean",
        "win_rate",
        "faults",
    }
    assert expected <= results.keys()
    assert not [key for key in results if "second" in key or "time" in key or "speed" in key]
    assert [entry["act_noise"] for entry in results["by_act_noise"]] == [1.0, 0.5, 0.25, 0.0]
    assert manifest["config"]["algo"]["_target_"] == "vgm2p.algos.vgm2p_switches.VGM2PSwitches"
    assert {"torch", "lightning", "mujoco", "vgm2p"} <= manifest["versions"].keys()
    assert manifest["data"]["digest"].startswith("cb05512c99cb")
    kept = {path.name for path in folder.checkpoints.glob("*.ckpt")}
    assert kept == {"update-000000010.ckpt", "update-000000020.ckpt"}
    assert {int(row["update"]) for row in folder.log_episodes().rows()} == {0, 10, 20}
    assert (folder.plots / "learning.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads(folder.timing.read_text())["sessions"][0]["to"] == 20


def test_evaluate_repeats_the_final_evaluation(trained, tmp_path):
    run_folder = trained / "vgm2p_chosen"
    done = succeeded(
        program(tmp_path, "evaluate", f"run={run_folder}", "episodes=1", "video=true", f"out={tmp_path / 'e'}")
    )
    again = json.loads((tmp_path / "e" / "results.json").read_text())["by_act_noise"]
    first = RunFolder(run_folder).read_results()["by_act_noise"]
    assert [entry["act_noise"] for entry in again] == [1.0, 0.5, 0.25, 0.0, "shared"]
    assert [entry["per_seed"] for entry in again[:4]] == [entry["per_seed"] for entry in first]
    assert again[4]["per_seed"] != first[0]["per_seed"]
    assert "0.25 (own)" in done.stdout
    own = next(entry for entry in again if entry["act_noise"] == 0.25)
    shown = "episode0.mp4: vgm2p_chosen, seed 0, act_noise 0.25, 60 steps"
    assert f"{shown}, return {own['per_seed'][0]:.1f}" in done.stdout
    film = (tmp_path / "e" / "episode0.mp4").read_bytes()
    assert film[4:8] == b"ftyp"
    assert len(film) > 5_000


def test_a_loaded_policy_acts_as_the_evaluation_did(trained):
    folder = RunFolder(trained / "vgm2p_chosen")
    policy = vgm2p.load(folder.path)
    env = MAMuJoCo("HalfCheetah-v5", 6, "raw_onehot", episode_limit=60)
    frame, total = env.reset([1_000_000]), 0.0
    for _ in range(60):
        action = policy.act(frame.obs[0])
        assert action.shape == (6, 1)
        step = env.step(action[None], np.ones(1, bool))
        frame, total = step.frame, total + step.reward[0]
    own = next(e for e in folder.read_results()["by_act_noise"] if e["act_noise"] == 0.25)
    assert total == pytest.approx(own["per_seed"][0], abs=1e-3)


@pytest.mark.slow
def test_a_label_names_the_run_and_not_its_comparison_runs(tmp_path):
    done = succeeded(
        program(
            tmp_path,
            "fit",
            "label=mine",
            "compare=[bc_gaussian]",
            "updates=4",
            "eval_every=4",
            "eval_episodes=1",
            "eval_acting=[]",
            "net.width=8",
            "data.batch_size=4",
        )
    )
    assert [line.split("|")[1].strip() for line in done.stdout.splitlines() if line.startswith("| ")][1:] == [
        "random policy",
        "dataset mean",
        "mine",
        "bc_gaussian",
    ]


def test_evaluate_takes_several_ways_to_act(trained, tmp_path):
    run = trained / "vgm2p_chosen"
    succeeded(program(tmp_path, "evaluate", f"run={run}", "episodes=1", "act_noise=[0.7,shared]", "out=e"))
    again = json.loads((tmp_path / "e" / "results.json").read_text())["by_act_noise"]
    assert [entry["act_noise"] for entry in again] == [0.7, "shared"]


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("workers=3", "workers=3: env=mamujoco/6halfcheetah has no such key"),
        ("act_noise=0.5", "algo=bc_gaussian does not start from noise"),
        ("out={run}", "is the folder of a run"),
    ],
)
def test_evaluate_refuses_settings_that_do_not_fit_the_run(word, says, trained):
    run_folder = trained / "bc_gaussian"
    before = (run_folder / "results.json").read_bytes()
    code, text = answer(["evaluate", f"run={run_folder}", word.format(run=run_folder)])
    assert (code, text.count("\n")) == (2, 1)
    assert says in text
    assert (run_folder / "results.json").read_bytes() == before


def test_a_run_is_not_compared_with_itself_and_variants_have_different_names(tmp_path):
    tiny = ["updates=4", "eval_every=4", "eval_episodes=1", "eval_acting=[]", "data.batch_size=4"]
    for given, names in (
        (["algo=bc_gaussian", "compare=[bc_gaussian]"], ["bc_gaussian"]),
        (["algo=bc_gaussian", "optim.lr=0.5", "compare=[bc_gaussian]"], ["bc_gaussian"]),  # the group is the run's
        (["algo=bc_gaussian", "label=mine", "compare=[bc_gaussian]"], ["mine"]),
        (["algo=omar", "tuned=omar/expert", "compare=[bc_gaussian]"], ["omar", "bc_gaussian"]),  # for omar alone
        (
            ["algo=bc_gaussian", "algo.history=2", "compare=[bc_gaussian]"],
            ["bc_gaussian history=2", "bc_gaussian history=1"],
        ),
    ):
        done = succeeded(program(tmp_path, "fit", *given, *tiny))
        shown = [line.split("|")[1].strip() for line in done.stdout.splitlines() if line.startswith("| ")]
        assert shown[3:] == names, done.stdout


def test_a_finished_run_is_shown_where_its_simulator_is_missing(trained):
    again = run(
        trained / "bc_gaussian", "sys.modules['gymnasium'] = None", algo="bc_gaussian", callbacks__plot=None, **SMALL
    )
    assert again.returncode == 0, again.stderr
    assert "already finished" in again.stdout
    assert "| bc_gaussian" in again.stdout


def test_data_show_and_check_the_bundled_set(tmp_path):
    shown = program(tmp_path, "data", "show", "bundled_6halfcheetah", "out=pictures")
    assert shown.returncode == 0, shown.stderr
    assert "return         960.7 +- 1081.5" in shown.stdout
    assert (tmp_path / "pictures" / "6halfcheetah_quickstart.png").exists()
    checked = program(tmp_path, "data", "check")
    assert checked.returncode == 0
    assert checked.stdout.count("ok  ") == 5


@pytest.mark.parametrize("words", [["data", "list", "3m"], ["data", "show"]], ids=["list", "show"])
def test_data_commands_start_without_torch_and_lightning(tmp_path, words):
    """They are slow to import: several CPU seconds."""
    script = (
        f"import sys; from vgm2p.cli import main; main({words!r}); print({{'torch', 'lightning'}} & {{*sys.modules}})"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment(), capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "set()", done.stderr


def test_a_closed_pipe_ends_the_command_quietly(tmp_path):
    command = f"{sys.executable} -u -m vgm2p data list | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("141", "")


def test_a_users_conf_adds_files_and_cannot_replace_ours(tmp_path):
    own = tmp_path / "conf"
    (own / "experiment").mkdir(parents=True)
    (own / "algo").mkdir()
    (own / "experiment" / "mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /algo: bc_flow\nseed: 41\noptim:\n  lr: 0.01\n"
    )
    (own / "algo" / "bc_flow.yaml").write_text("_target_: nowhere.Shadow\n")
    succeeded(program(tmp_path, "fit", "experiment=mine", *NO_EVALUATION))
    manifest = next((tmp_path / "runs/mine/bc_flow").glob("s41x1-*/manifest.json"))
    config = json.loads(manifest.read_text())["config"]
    assert config["algo"]["_target_"] == "vgm2p.algos.bc_flow.BCFlow"
    assert config["algo"]["optim"]["lr"] == 0.01
    assert (tmp_path / "runs/last").resolve() == manifest.parent


def test_packages_of_our_names_in_the_working_folder_do_not_shadow_ours(tmp_path):
    for name in ("callbacks", "datamodules"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('shadowed')\n")
    succeeded(program(tmp_path, "fit", *NO_EVALUATION, "out=run"))


def test_resume_reads_the_runs_own_settings(tmp_path):
    assert program(tmp_path, "fit", *NO_EVALUATION, "algo=bc_flow", "out=run").returncode == 0
    done = succeeded(program(tmp_path, "fit", "resume=run", "updates=6"))
    assert "continuing after update 4" in done.stdout
    assert json.loads((tmp_path / "run/results.json").read_text())["updates"] == 6


def test_a_failing_run_does_not_stop_a_sweep(tmp_path):
    """A cell that is refused leaves nothing, one that has begun says in its folder why it ended."""
    ends = ["+callbacks.mine._target_=tests.run.test_parts.EndsEarly", "block_updates=1"]
    sweep = ["fit", "-m", "algo=bc_flow", "optim.lr=0.01,-1,0.02", *NO_EVALUATION]
    done = program(tmp_path, *sweep)
    assert done.returncode == 2
    assert len(list(tmp_path.glob("runs/quickstart/bc_flow/*/results.json"))) == 2
    assert len(list(tmp_path.glob("runs/quickstart/bc_flow/*"))) == 2
    assert "optim.lr must be a number from 0" in done.stderr
    assert "1 failed:" in done.stderr
    assert "exit 2" in done.stderr
    assert "Traceback" not in done.stderr
    again = program(tmp_path, *sweep)
    assert again.stdout.count("already finished") == 2
    done = program(tmp_path, "fit", "-m", "algo=bc_flow", "seed=7,8", *NO_EVALUATION, *ends)
    assert done.returncode == 2
    status = [json.loads(path.read_text()) for path in tmp_path.glob("runs/quickstart/bc_flow/*/status.json")]
    assert [entry["code"] for entry in status] == [2, 2]
    assert all("ended training after update 1" in entry["line"] for entry in status)


def test_a_sweep_writes_nothing_into_a_folder_that_is_no_run_folder(tmp_path):
    for name in ("status.json", "notes.txt"):
        (tmp_path / name).write_text("mine")
    code, text = answer(["fit", "-m", *TINY, f"out={tmp_path}", "seed=0,1"])
    assert code == 2 and "2 failed" in text and "is not a run folder (it contains notes.txt)" in text
    assert (tmp_path / "status.json").read_text() == "mine"


@pytest.mark.parametrize(
    ("words_", "code"),
    [
        (["updates=0"], 2),
        (["algo.gamma=${nowhere}"], 2),
        (["data=files", "data.source.paths=[nowhere.h5]", "compare=[bc_gaussian]"], 66),
        (["data.source.nonsense=1"], 2),
    ],
)
@pytest.mark.parametrize("sweep", [[], ["-m", "seed=0,1"]], ids=["run", "sweep"])
def test_a_refused_run_leaves_nothing(tmp_path, words_, code, sweep):
    (tmp_path / "runs").mkdir()  # was there before, and stays
    done = program(tmp_path, "fit", *sweep, *NO_EVALUATION, *words_)
    assert done.returncode == code, done.stderr
    assert "internal error" not in done.stderr and "Traceback" not in done.stderr
    assert {path.name for path in tmp_path.rglob("*")} == {"runs"}


def test_comparison_runs_stand_in_the_table(tmp_path):
    words_ = words(tmp_path / "main", algo="vgm2p", **SMALL, compare="[bc_gaussian]", env__episode_limit=1000)
    done = succeeded(program(tmp_path, *words_))
    methods = [line.split("|")[1].strip() for line in done.stdout.splitlines() if line.startswith("| ")]
    assert methods == ["return", "random policy", "dataset mean", "vgm2p", "bc_gaussian"]
    other = tmp_path / "main-bc_gaussian"
    assert (other / "results.json").exists()
    assert json.loads((tmp_path / "main/compare-bc_gaussian.json").read_text()) == {"folder": str(other)}
