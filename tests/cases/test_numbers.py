"""Numbers that are not finite, in data, losses, policies and environments: named where they arise, never a result."""

import csv
import json

import pytest

from tests.cases.strange import command, fit, line_data, place


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return place(tmp_path_factory.mktemp("user"))


def line_of(done):
    """Return the last line of a command that failed: one line, no traceback, no report of a fault of ours."""
    assert "Traceback" not in done.stderr
    assert "report it" not in done.stderr
    return done.stderr.strip().splitlines()[-1]


def results(folder, out):
    return json.loads((folder / out / "results.json").read_text())


def returns(folder, out):
    rows = csv.DictReader((folder / out / "episodes.csv").open())
    return {(row["update"], row["seed"], row["episode"]): row["return"] for row in rows}


@pytest.fixture(scope="module")
def healthy(folder):
    done = fit(folder, "healthy", "seeds=3")
    assert done.returncode == 0, done.stderr
    return returns(folder, "healthy")


def test_a_frozen_seed_is_told_marked_and_in_the_exit_code(folder, healthy):
    done = fit(folder, "frozen", "seeds=3", "algo.fault=loss")
    assert done.returncode == 70
    assert "seed 1 froze at update 5: its policy loss is not finite" in done.stdout
    assert done.stdout.count("diverged     seed") == 1
    assert line_of(done).startswith("vgm2p: seed 1 froze at update 5")
    assert results(folder, "frozen")["diverged_seeds"] == [1]
    assert results(folder, "frozen")["diverged"] == ["seed 1 froze at update 5: its policy loss is not finite"]
    row = next(line for line in done.stdout.splitlines() if line.startswith("| policy"))
    assert [value.endswith("x") for value in row.split("|")[-2].split()] == [False, True, False]
    assert "x a seed diverged" in done.stdout
    found = returns(folder, "frozen")
    assert {key: value for key, value in found.items() if key[1] != "1"} == {
        key: value for key, value in healthy.items() if key[1] != "1"
    }
    again = fit(folder, "frozen", "seeds=3", "algo.fault=loss")
    assert again.returncode == 70
    assert line_of(again) == line_of(done)


def test_the_report_marks_a_frozen_seed(folder):
    fit(folder, "marked", "seeds=2", "algo.fault=loss")
    done = command(folder, "report", "marked")
    assert done.returncode == 0, done.stderr
    assert "x a seed diverged" in done.stdout
    rows = list(csv.DictReader((folder / "report" / "table.csv").open()))
    assert {row["method"]: row["diverged"] for row in rows} == {
        "random policy": "",  # a reference has no seeds
        "dataset mean": "",
        "policy": "1",
    }


@pytest.mark.parametrize("beside", ["false", "true"])
def test_a_run_without_a_living_seed_ends_early_and_says_so_again(folder, beside):
    words, out = (
        ("algo.fault=loss", "algo.of=0", "updates=4000", "eval_every=4000", f"eval_async={beside}"),
        f"a{beside}",
    )
    done = fit(folder, out, *words)
    assert done.returncode == 70
    assert "no seed is left" in line_of(done)
    assert results(folder, out)["updates"] == 5
    assert "return_mean" not in results(folder, out)
    again = fit(folder, out, *words)
    assert (again.returncode, line_of(again)) == (70, line_of(done))
    report = command(folder, "report", out)
    assert report.returncode == 66
    assert "no seed has a result (seed 0 froze at update 5" in report.stdout


def test_a_frozen_seed_is_known_after_a_resume(folder):
    fit(folder, "resumed", "seeds=2", "algo.fault=loss", "checkpoint_every=5", "updates=5")
    done = fit(folder, "resumed", "seeds=2", "algo.fault=loss", "checkpoint_every=5", "updates=10")
    assert done.returncode == 70
    assert "seed 1 froze at update 5" in done.stdout
    assert results(folder, "resumed")["diverged"] == ["seed 1 froze at update 5: its policy loss is not finite"]


@pytest.mark.parametrize("scale", [1e20, 1e30])
def test_rewards_whose_squares_overflow_are_named_before_training(folder, scale):
    line_data(folder / f"{scale}.h5", scale)
    done = fit(folder, f"huge{scale}", "algo=vgm2p", "evaluate=none", data=f"{scale}.h5")
    assert done.returncode == 70
    assert "their squares are infinite in float32" in done.stdout.splitlines()[0]
    assert "seed 0 froze at update 1: its critic loss is not finite" in line_of(done)


def test_a_policy_that_returns_nan_is_blamed_and_disturbs_no_other_seed(folder, healthy):
    done = fit(folder, "nan", "seeds=3", "algo.fault=blank")
    assert done.returncode == 70
    assert line_of(done).startswith("vgm2p: policy of policy.Policy, seed 1: an action is not finite at step 0")
    found = returns(folder, "nan")
    assert {key[1] for key in found} == {"0", "2"}
    assert found == {key: value for key, value in healthy.items() if key[1] != "1"}
    assert results(folder, "nan")["diverged_seeds"] == [1]
    assert "NaN" not in (folder / "nan" / "results.json").read_text()


def test_a_run_whose_only_policy_returns_nan_has_no_result(folder):
    done = fit(folder, "only", "algo.fault=blank", "algo.of=0")
    assert done.returncode == 70
    assert "policy of policy.Policy, seed 0" in line_of(done)
    assert not (folder / "only" / "results.json").exists()
    again = fit(folder, "only", "algo.fault=blank", "algo.of=0")
    assert (again.returncode, line_of(again)) == (70, line_of(done))


def test_actions_of_a_wrong_shape_are_a_mistake_of_the_policy(folder):
    done = fit(folder, "shape", "algo.fault=shape")
    assert done.returncode == 2
    assert "policy of policy.Policy: act must return float tensors (1, 2, 2, 1)" in line_of(done)


def test_an_error_in_a_users_file_names_the_file(folder):
    done = fit(folder, "update", "algo.fault=update", "evaluate=none")
    assert done.returncode == 2
    assert "policy.py line" in line_of(done)
    assert "ValueError: batch of wrong size" in line_of(done)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("nan", "reward is nan at step 3 of episode 0"),
        ("inf", "reward is inf at step 3 of episode 0"),
        ("obs", "observation is inf at step 3 of episode 0"),
        ("raise", "step failed at step 3 of episode 0 with RuntimeError: the motor is broken"),
        ("reset", "reset failed with KeyError: 'no such level'"),
        ("list", "reward must be a float array ({episodes},), got list"),
        ("wide", "obs must be a float array ({episodes}, 2, 2), got float32 ({episodes}, 2, 4)"),
    ],
)
@pytest.mark.parametrize("word", ["fit", "collect"])
def test_a_fault_of_an_environment_names_it(folder, word, fault, says):
    if word == "fit":
        done = fit(folder, f"env-{fault}", f"env.fault={fault}")
    else:
        words = ["env=world", f"env.fault={fault}", "data.view=native", "policy=random", "episodes=1"]
        done = command(folder, "collect", *words, f"out=made-{fault}.h5")
        assert not (folder / f"made-{fault}.h5").exists()
    assert done.returncode == 69
    said = line_of(done).replace("episode 500000", "episode 0")  # the first episode that `collect` records
    says = says.format(episodes=2 if word == "fit" else 1)
    assert said.startswith(f"vgm2p: environment line (world.World): {says}; mend this class")
    assert len(line_of(done)) <= 207
    assert not (folder / f"env-{fault}" / "results.json").exists()


def test_an_episode_that_never_ends_is_truncated_at_its_limit(folder):
    done = fit(folder, "never", "env.fault=never")
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((folder / "never" / "episodes.csv").open()))
    assert {(row["length"], row["terminated"]) for row in rows} == {("8", "0")}
    words = ("env=world", "env.fault=never", "data.view=native", "policy=random", "episodes=2", "out=never.h5")
    assert command(folder, "collect", *words).returncode == 0
    assert command(folder, "data", "check", "never.h5").returncode == 0


@pytest.mark.parametrize("limit", ["null", "0"])
def test_an_environment_without_a_limit_is_refused(folder, limit):
    words = ("env=world", f"env.episode_limit={limit}", "data.view=native", "policy=random", "episodes=2")
    done = command(folder, "collect", *words, f"out=limit{limit}.h5")
    assert done.returncode == 2
    assert "episode_limit" in line_of(done)


def test_too_little_memory_in_a_rollout_says_what_to_lower(folder):
    done = fit(folder, "memory", "env.fault=memory")
    assert done.returncode == 71
    assert "the memory is too small" in line_of(done)
    assert "lower seeds" in line_of(done)


def test_commands_about_a_run_name_its_frozen_seed(folder):
    fit(folder, "named", "seeds=2", "algo.fault=loss")
    line = "seed 1 is frozen: a loss of it was not finite"
    evaluated = command(folder, "evaluate", "run=named", "episodes=2", "out=again")
    assert f"diverged     {line}" in evaluated.stdout, evaluated.stderr
    assert json.loads((folder / "again" / "results.json").read_text())["diverged_seeds"] == [1]
    estimated = command(folder, "estimate", "run=named", "updates=20", "critics=2", "net.width=8", "share=0.5")
    assert f"{line}; its value is no result" in estimated.stdout, estimated.stderr
