"""A search over keys with Optuna: failed trials, the best one, its command, and going on with its file."""

import json
import shlex

import pytest

from tests.cli.answers import TINY, answer
from tests.run.runs import program

pytest.importorskip("optuna", reason="needs the extra optuna")
pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="needs the extra optuna")

LR = "optim.lr=choice(0.001,0.002,-1)"
SEARCH = ["fit", "-m", "+sweep=search", "hydra/sweeper/sampler=grid", "algo=bc_flow", *TINY, LR]
FEW = ["hydra.sweeper.estimate.updates=20", "hydra.sweeper.n_trials=3"]


@pytest.mark.slow
def test_a_search_goes_on_after_failed_trials_and_prints_the_best_and_its_command(tmp_path):
    done = program(tmp_path, *SEARCH, *FEW)
    assert done.returncode == 2  # that of the failed trial
    assert "1 failed:" in done.stderr and "optim.lr must be a number from 0, got -1" in done.stderr
    (file,) = tmp_path.glob("runs/search-*.json")
    values = {trial["params"]["optim.lr"]: trial["value"] for trial in json.loads(file.read_text())["trials"]}
    assert len(values) == 3 and values[-1] is None
    best = max((lr for lr in values if values[lr] is not None), key=lambda lr: values[lr])
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("train it"))
    words = shlex.split(line.partition("`")[2].rstrip("`").partition(" -m vgm2p ")[2])
    assert f"optim.lr={best}" in words and "+sweep=search" not in words
    single = program(tmp_path, *words, "compare=[]", "evaluate=none")
    assert single.returncode == 0 and "already finished" in single.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"runs"}
    again = program(tmp_path, *SEARCH, *FEW)
    assert again.returncode == 0 and "3 trials by their estimate return: 3 are done" in again.stdout
    assert again.stderr == ""
    assert "\nfolder       " not in again.stdout and line in again.stdout


@pytest.mark.slow
def test_a_search_by_evaluations_warns_and_needs_evaluations(tmp_path):
    done = program(tmp_path, *SEARCH, *FEW, "hydra.sweeper.objective=evaluation", "hydra.sweeper.n_trials=1")
    assert "the best of many evaluations is too high by chance" in done.stdout
    assert done.returncode == 2 and "no trial of the search has a return" in done.stderr


@pytest.mark.parametrize(
    ("word", "code", "says"),
    [
        ("hydra.sweeper.objective=loss", 2, "hydra.sweeper.objective must be estimate or evaluation, got 'loss'"),
        ("+hydra.sweeper.estimate.propose=true", 2, "hydra.sweeper.estimate.propose: a search compares estimates"),
        ("hydra.sweeper.storage=sqlite:///nowhere/at/all.db", 74, "name a file that ends in .json"),
        ("hydra.sweeper.storage=pyproject.json", 65, "damaged"),
        ("hydra.sweeper.n_jobs=0", 2, "hydra.sweeper.n_jobs must be a whole number from 1, got 0"),
        ("hydra.sweeper.n_trials=few", 2, "hydra.sweeper.n_trials"),
        ("hydra.sweeper.direction=up", 2, "hydra.sweeper.direction must be maximize or minimize, got 'up'"),
        ("hydra/sweeper/sampler=nosuch", 2, "unknown hydra/sweeper/sampler 'nosuch'"),
        ("optim.lr=interval(2,1)", 2, "the search cannot begin: The `low` value must be smaller"),
        ("optim.lr=interval(0.001,0.002)", 2, "the search cannot begin: GridSampler only supports discrete"),
    ],
)
def test_what_a_search_refuses_is_one_line(tmp_path, monkeypatch, word, code, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.json").write_text("{")
    found, text = answer([*SEARCH, word])
    assert found == code and says in text and text.count("\n") == 1, text
    assert {path.name for path in tmp_path.iterdir()} == {"pyproject.json"}


def test_a_grid_whose_last_trial_fails_ends_like_any_search(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, text = answer([*SEARCH, "hydra.sweeper.n_trials=2", "optim.lr=choice(-1,-2)"])
    assert code == 2 and text.splitlines()[-1] == "vgm2p: no trial of the search has a return; see the failures above"
    (file,) = tmp_path.glob("runs/search-*.json")
    assert [trial["value"] for trial in json.loads(file.read_text())["trials"]] == [None, None]


KEPT = [*SEARCH, "hydra.sweeper.storage=trials.json", "hydra.sweeper.n_trials=1", "optim.lr=choice(-1,-2)"]


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Give the only trial of a search a return, and return the content of its file."""
    monkeypatch.chdir(tmp_path)
    assert answer(KEPT)[0] == 2
    file = tmp_path / "trials.json"
    content = json.loads(file.read_text())
    content["trials"][0]["value"] = 5.0
    file.write_text(json.dumps(content))
    return file, content["trials"]


@pytest.mark.parametrize(
    "other", ["updates=8", "hydra.sweeper.estimate.updates=7", "hydra.sweeper.objective=evaluation"]
)
def test_trials_of_another_search_are_left_out_and_stay_in_the_file(kept, other):
    file, trials = kept
    assert answer(KEPT) == (0, "")
    done = program(file.parent, *KEPT, other)
    assert "search       1 trials in trials.json are of another search, and are left out" in done.stdout
    assert done.returncode == 2 and "no trial of the search has a return" in done.stderr
    found = json.loads(file.read_text())["trials"]
    assert found[0] == trials[0] and [trial["value"] for trial in found] == [5.0, None]
    assert answer(KEPT) == (0, "")


def test_a_file_of_an_earlier_version_is_compared_by_its_words(kept):
    file, trials = kept
    file.write_text(json.dumps({"trials": [{key: trials[0][key] for key in ("params", "words", "value")}]}))
    assert answer(KEPT) == (0, "")
    assert answer([*KEPT, "updates=8"])[0] == 2


def test_a_key_that_a_word_fixes_does_not_hide_earlier_trials(kept):
    """The file of the search has a range for the learning rate."""
    file, _ = kept
    fixed = [*KEPT[:-1], "seed=choice(-1,-2)", "optim.lr=0.001", "hydra.sweeper.n_trials=2"]
    file.unlink()
    assert answer(fixed)[0] == 2
    assert len(json.loads(file.read_text())["trials"]) == 2
    done = program(file.parent, *fixed)
    assert "2 trials by their estimate return: 2 are done" in done.stdout and "left out" not in done.stdout


def test_equal_trials_of_a_batch_are_started_once(tmp_path):
    four = ["hydra/sweeper/sampler=random", "hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=4"]
    done = program(tmp_path, *SEARCH, *four, "optim.lr=choice(-1)")
    assert done.stderr.count("vgm2p: optim.lr must be a number from 0, got -1\n") == 1
    (file,) = tmp_path.glob("runs/search-*.json")
    assert len(json.loads(file.read_text())["trials"]) == 4
