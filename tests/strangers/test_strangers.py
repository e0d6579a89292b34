"""A user's own algorithm, environment, callback and logger work without a change of the package."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.run.runs import environment, program, succeeded

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TINY = ["updates=20", "eval_every=20", "eval_episodes=1", "eval_acting=[]", "compare=[]", "data.batch_size=8"]


@pytest.fixture
def place(tmp_path):
    """A stranger's working folder: modules, and a `conf` that names them."""
    shutil.copytree(HERE / "conf", tmp_path / "conf")
    for module in ("mine", "planner", "line_world"):
        shutil.copy(HERE / f"{module}.py", tmp_path)
    return tmp_path


def command(place, *words):
    done = succeeded(program(place, *words, PYTHONPATH=f"{ROOT}{os.pathsep}{place}"))
    return done.stdout


def results(place):
    return json.loads((place / "runs/last/results.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mine", "planner", "joint_planner"])
def test_a_strangers_algorithm_passes_every_contract_test(place, name):
    tests = [str(ROOT / "tests/algos/test_contract.py"), "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *tests],
        cwd=place,
        env={**environment(), "PYTHONPATH": f"{ROOT}{os.pathsep}{place}", "CONTRACT_ALGOS": name},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout


def test_a_centralised_controller_is_marked_where_results_are_shown(place):
    text = command(place, "fit", "algo=joint_planner", *TINY)
    assert results(place)["decentralised"] is False
    assert "| joint_planner (centralised) |" in text


@pytest.mark.parametrize(("name", "target"), [("mine", "mine.Mine"), ("planner", "planner.Planner")])
def test_a_strangers_algorithm_trains_on_the_quick_starts_experiment(place, name, target):
    text = command(place, "fit", f"algo={name}", *TINY)
    assert f"algorithm    {name} ({target})" in text
    assert results(place)["algorithm"] == name
    assert "| 1000 " in command(place, "evaluate", "run=runs/last", "episodes=1")  # steps of the episode


def test_a_strangers_environment_is_recorded_trained_on_and_played(place):
    command(place, "collect", "env=line", "data.view=native", "policy=random", "episodes=20", "out=line.h5")
    data = ["env=line", "data=files", "data.source.paths=[line.h5]", "data.view=native"]
    command(place, "fit", "algo=bc_gaussian", *data, *TINY)
    found = results(place)
    assert found["environment"] == "line"
    assert found["length_mean"] == 8


@pytest.mark.slow
def test_a_planner_of_the_package_plays_a_strangers_environment(place):
    command(place, "collect", "env=line", "data.view=native", "policy=random", "episodes=20", "out=line.h5")
    data = ["env=line", "data=files", "data.source.paths=[line.h5]", "data.view=native"]
    size = ["algo.net.width=8", "algo.net.levels=[1,2]", "algo.history=3", "algo.horizon=4", "algo.acting.steps=3"]
    for name, shown in (("madiff_c", "madiff_c (centralised)"), ("madiff_d", "madiff_d ")):
        text = command(place, "fit", f"algo={name}", *data, *size, *TINY, "seeds=2")
        assert f"| {shown}" in text
        assert results(place)["decentralised"] is (name == "madiff_d")
    command(
        place, "collect", "policy=runs/last", "env=line", "data.view=native", "episodes=3", "noise=0.3", "out=more.h5"
    )
    command(place, "fit", "algo=dof", "algo.goal.rtg=true", *data, *size, *TINY)
    assert "| 8 " in command(place, "evaluate", "run=runs/last", "episodes=1")
    script = """
import numpy as np, vgm2p
policy, obs = vgm2p.load("runs/last"), np.zeros((2, 2), np.float32)
print(policy.decentralised, policy.act(obs, reward=0.0).shape, policy.act(obs, reward=-1.0).shape)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=place,
        env={**environment(), "PYTHONPATH": f"{ROOT}{os.pathsep}{place}"},
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["False", "(2,", "1)", "(2,", "1)"], done.stderr
