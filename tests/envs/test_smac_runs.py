"""The commands on SMAC: collect, fit, evaluate, doctor and bench, with the stand-in for the game."""

import csv
import importlib.util
import json
import os
import re
import subprocess
import sys

import pytest

from tests.envs.fake_sc2 import install

if importlib.util.find_spec("smacv2") is None:
    pytest.skip("smacv2 is not installed: make install-smac test-smac", allow_module_level=True)
pytestmark = pytest.mark.slow
SMALL = [
    "data=files",
    "data.view=native",
    "net.width=8",
    "net.depth=1",
    "data.batch_size=4",
    "eval_every=2",
    "eval_episodes=3",
    "eval_acting=[]",
    "trainer.accelerator=cpu",
    "logger.tensorboard=null",
    "callbacks.plot=null",
]
TINY = ["experiment=smacv1_3m_good", "data.source.paths=[3m.h5]", "seeds=2", *SMALL]
RANDOM_TEAMS = ["experiment=smacv2_terran5v5", "data.source.paths=[terran.h5]", "seeds=2", *SMALL]


def run(folder, *words, code=0, game="sc2"):
    """Run `vgm2p` in `folder` and return what it printed; `game` is the folder of the stand-in there."""
    done = subprocess.run(
        [sys.executable, "-m", "vgm2p", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "SC2PATH": str(folder / game), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout if code == 0 else done.stderr


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("smac")
    install(folder / "sc2")
    run(folder, "collect", "env=smac/3m", "policy=random", "episodes=6", "out=3m.h5")
    run(folder, "collect", "env=smac/terran_5_vs_5", "policy=heuristic", "episodes=4", "out=terran.h5")
    return folder


def rows(folder):
    return list(csv.DictReader((folder / "episodes.csv").open()))


def test_train_on_collected_episodes_evaluate_and_go_on_with_other_games(place):
    """A run that goes on with another number of games, beside training or in it, gives the files of a whole run."""
    run(place, "fit", *RANDOM_TEAMS, "updates=6", "out=whole", "eval_async=false")
    run(place, "fit", *RANDOM_TEAMS, "updates=4", "out=two", "eval_async=true", "env.workers=1")
    run(place, "fit", *RANDOM_TEAMS, "updates=6", "out=two", "eval_async=false", "env.workers=3")
    for name in ("episodes.csv", "results.json"):
        assert (place / "whole" / name).read_text() == (place / "two" / name).read_text()
    found = rows(place / "whole")
    assert {int(row["update"]) for row in found} == {0, 2, 4, 6}
    assert all(row["won"] in "01" and float(row["score"]) >= 0 and row["dead_allies"] for row in found)
    assert all(float(row["score"]) == pytest.approx(float(row["return"]), rel=1e-9) for row in found)
    results = json.loads((place / "whole/results.json").read_text())
    assert results["environment"] == "smac_v2/terran_5_vs_5" and results["faults"] == 0
    last = [
        float(row["won"]) for row in found if row["update"] == "6" and row["act_noise"] == str(results["act_noise"])
    ]
    assert results["win_rate"] == pytest.approx(sum(last) / len(last))
    for key in ("won", "return", "score"):
        assert results[f"random_{key}_mean"] >= 0
    assert results["dataset_won_mean"] > 0 and "of the episodes are won" in run(place, "data", "show", "terran.h5")
    assert results["dataset_score_mean"] == pytest.approx(results["dataset_return_mean"], rel=1e-5)  # our own scale
    said = run(place, "evaluate", "run=whole", "episodes=2", "act_noise=mode", "replay=true")
    assert said.index(" won ") < said.index(" return ")
    assert (place / "whole/evaluations/update-6-n2-mode/episode0.SC2Replay").read_text() == "replay of 1 episodes"
    assert "draws no pictures; replay=true" in run(place, "evaluate", "run=whole", "video=true", code=2)
    assert len(rows(place / "whole/evaluations/update-6-n2-mode")) == 4


def test_episodes_that_cannot_be_played_make_an_evaluation_short(place):
    """Of three episodes, one fails at all four attempts: in training (in another process), and in the last evaluation."""
    broken = {"numbers": [5, 7, 8, 9, 12, 13, 14, 15], "kinds": ["crash"], "at": 2}
    install(place / "broken", faults=broken)
    words = [*TINY, "seeds=1", "env.workers=1", "updates=4", "out=short", "eval_async=true"]
    said = run(place, "fit", *words, game="broken")
    for start in (
        "evaluation after update 2 is short: episode 1",
        "final evaluation (act_noise 1.0) is short: episode 2",
    ):
        (line,) = [line for line in said.splitlines() if line.startswith(start)]
        kept = (place / line.rpartition(" ")[2]).read_text().splitlines()
        game = kept.index("== game.log (last 50 lines)")
        assert kept[game + 1 : game + 51] == [f"the game's line {number}" for number in range(10, 60)]
    found = [(int(row["update"]), int(row["episode"])) for row in rows(place / "short")]
    assert found == [(0, 0), (0, 1), (0, 2), (2, 0), (2, 2), (4, 0), (4, 1)]
    results = json.loads((place / "short/results.json").read_text())
    assert (results["episodes"], results["unplayed"]) == (2, [2])
    assert "]!<" in said and "some episodes could not be played" in said


def test_a_game_that_plays_nothing_ends_the_run_and_its_log_is_kept(place):
    install(place / "dead", launch={str(number): "exit" for number in range(1, 99)})
    words = [*TINY, "seeds=1", "updates=4", "out=none played"]
    line = run(place, "fit", *words, code=69, game="dead")
    assert re.search(r"failed 4 times in episode \d", line) and "the same command continues" in line
    (log,) = (place / "none played").glob("fault-*.log")
    assert "cannot start" in log.read_text()


def test_another_build_of_the_game_is_told_when_a_run_goes_on(place):
    install(place / "older")
    (place / "older/Versions/Base75689").rename(place / "older/Versions/Base69232")
    run(place, "fit", *TINY, "seeds=1", "updates=2", "out=builds")
    said = run(place, "fit", *TINY, "seeds=1", "updates=4", "out=builds", game="older")
    assert "changed      StarCraft II build 75689 -> build 69232: the results may differ" in said
    assert "version of StarCraft II (build 75689, then build 69232: " in said


def test_a_run_trained_without_the_game_is_evaluated_where_there_is_one(place):
    run(place, "fit", *TINY, "updates=2", "out=blind", "evaluate=none")
    assert not (place / "blind/episodes.csv").exists()
    run(place, "evaluate", "run=blind", "episodes=1", "act_noise=0.0")
    assert len(rows(place / "blind/evaluations/update-2-n1-0.0")) == 2


def test_without_the_game_training_ends_with_a_line_that_helps(place):
    for missing, word in (("sc2/Versions", " sc2 SC2PATH="), ("sc2/Maps", " smac-maps SC2PATH=")):
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
