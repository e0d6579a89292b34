"""The commands on SMAC: collect, fit, evaluate, doctor and bench, with the stand-in for the game."""

import csv
import importlib.util
import json
import os
import subprocess
import sys

import pytest

from tests.envs.fake_sc2 import install

if importlib.util.find_spec("smacv2") is None:
    pytest.skip("smacv2 is not installed: make install-smac test-smac", allow_module_level=True)
pytestmark = pytest.mark.slow
TINY = [
    "experiment=smacv1_3m_good",
    "data=files",
    "data.view=native",
    "data.source.paths=[3m.h5]",
    "net.width=8",
    "net.depth=1",
    "data.batch_size=4",
    "eval_every=2",
    "eval_episodes=3",
    "eval_acting=[]",
    "seeds=2",
    "trainer.accelerator=cpu",
]


def run(folder, *words, code=0):
    """Run `vgm2p` in `folder` and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "vgm2p", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "SC2PATH": str(folder / "sc2"), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout if code == 0 else done.stderr


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("smac")
    install(folder / "sc2")
    run(folder, "collect", "env=smac/3m", "policy=random", "episodes=6", "out=3m.h5")
    return folder


def rows(folder):
    return list(csv.DictReader((folder / "episodes.csv").open()))


def test_train_on_collected_episodes_evaluate_and_go_on(place):
    """Won, score and deaths are in rows and results, beside training as in it, and after a resume as without one."""
    run(place, "fit", *TINY, "updates=6", "out=whole", "eval_async=false")
    run(place, "fit", *TINY, "updates=6", "out=beside", "eval_async=true")
    run(place, "fit", *TINY, "updates=4", "out=two", "eval_async=false")
    run(place, "fit", *TINY, "updates=6", "out=two", "eval_async=false")
    for name in ("episodes.csv", "results.json"):
        assert (place / "whole" / name).read_text() == (place / "beside" / name).read_text()
        assert (place / "whole" / name).read_text() == (place / "two" / name).read_text()
    found = rows(place / "whole")
    assert {int(row["update"]) for row in found} == {2, 4, 6}
    assert all(row["won"] in "01" and 0 <= float(row["score"]) <= 20 and row["dead_allies"] for row in found)
    results = json.loads((place / "whole/results.json").read_text())
    assert results["environment"] == "smac_v1/3m" and results["faults"] == 0
    own = str(results["act_noise"])
    last = [float(row["won"]) for row in found if row["update"] == "6" and row["act_noise"] == own]
    assert results["win_rate"] == pytest.approx(sum(last) / len(last))
    assert results["score_mean"] == pytest.approx(results["return_mean"])
    said = run(place, "evaluate", "run=whole", "episodes=2", "act_noise=0.5")
    assert "won" in said and "score" in said
    assert len(rows(place / "whole/evaluations/update-6-n2")) == 4


def test_a_run_trained_without_the_game_is_evaluated_where_there_is_one(place):
    run(place, "fit", *TINY, "updates=2", "out=blind", "evaluate=none")
    assert not (place / "blind/episodes.csv").exists()
    run(place, "evaluate", "run=blind", "episodes=1", "act_noise=0.0")
    assert len(rows(place / "blind/evaluations/update-2-n1")) == 2


def test_without_the_game_training_ends_with_a_line_that_helps(place):
    for missing, word in (("sc2/Versions", "make sc2 SC2PATH="), ("sc2/Maps", "make smac-maps SC2PATH=")):
        (place / missing).rename(place / "away")
        line = run(place, "fit", *TINY, "updates=2", "out=none", code=66)
        (place / "away").rename(place / missing)
        assert word in line and "evaluate=none" in line and len(line.splitlines()) == 1
        assert not (place / "none/manifest.json").exists()


def test_doctor_plays_a_step(place):
    said = run(place, "doctor")
    assert "build 75689" in said and "3m starts and steps" in said


def test_bench_compares_one_game_with_several(place):
    root = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "vgm2p",
            "bench",
            "rollout",
            "env=fake_sc2",
            "workers=2",
            "rounds=1",
            "delay=0",
            f"out={place}",
        ],
        cwd=root,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "2 at once" in done.stdout and (place / "rollout-fake_sc2.json").exists()
