"""Rows of the random policy and of the dataset in the tables of victories, returns and scores."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from tests.report.finished_runs import cells_of, row_cells
from vgm2p.envs.base import Episode
from vgm2p.report.results import damaged_entry
from vgm2p.report.runs import Run
from vgm2p.report.statistics import by_measure, references, statistics
from vgm2p.report.tables import as_csv, entries_of, table, versus
from vgm2p.run.folder import read_json, write_json


def battles(won, return_=None):
    """Return episodes that were won or not, with return and score 20 or 5, or another return."""
    return [
        Episode(0, e, return_ or (20.0 if win else 5.0), 9, True, bool(win), extra={"score": 20.0 if win else 5.0})
        for e, win in enumerate(won)
    ]


def a_run(data, score=True, won=(1, 1, 1, 0), return_=None):
    """Return a run that won `won`; `data`: measure -> values of the dataset's episodes."""
    played = by_measure(battles(won, return_))
    results = {
        "experiment": "battle",
        "algorithm": "vgm2p",
        "data_digest": "d" * 64,
        "act_noise": None,
        **({"score_mean": 1.0} if score else {}),
        **references("random", by_measure(battles([0] * 8))),
        **references("dataset", data),
    }
    measures = played if score else {key: values for key, values in played.items() if key != "score"}
    final = {measure: {None: {0: values}} for measure, values in measures.items()}
    return Run(Path("run"), {"config": {}}, results, "vgm2p", final)


def rows(runs, measure):
    return {entry.method: entry for entry in entries_of(runs, measure)}


SOUND = {
    **dict.fromkeys(("experiment", "algorithm", "data_digest"), "a"),
    "seeds": [0],
    "updates": 1,
    "act_noise": None,
    "return_mean": 1.0,
}
DATA = {"return": [5.0] * 20, "won": [0.0] * 20, "score": [5.0] * 20}


def test_victories_come_first_and_have_rows_of_the_random_policy_and_of_the_data():
    runs = [a_run(DATA, won=[1] * 30)]
    text = table(runs)
    assert text.index("| won") < text.index("| return")
    found = rows(runs, "won")
    assert list(found) == ["random policy", "dataset mean", "vgm2p"]
    assert found["random policy"].cells[None] == (0.0, 0.0, pytest.approx(0.324, abs=1e-3))  # Wilson's, 8 episodes
    assert found["vgm2p"].above_data == (None,)
    assert rows(runs, "return")["vgm2p"].above_data == (None,)
    assert "battle,dataset mean,,won,0,0," in as_csv(runs)


def test_the_score_is_shown_where_it_is_not_the_return():
    """On the maps of SMACv1 it is; in SMACv2 the data have returns of another scale."""
    assert "| score" not in table([a_run(DATA)])
    runs = [a_run({**DATA, "return": [9.0] * 20})]
    assert "| score" in table(runs)
    found = rows(runs, "return")
    assert found["dataset mean (recorder's scale)"].cells[None] == (9.0, 9.0, 9.0)
    assert found["vgm2p"].above_data == ()
    assert rows(runs, "score")["dataset mean"].cells[None] == (5.0, 5.0, 5.0)
    assert rows(runs, "score")["vgm2p"].above_data == (None,)


def test_without_an_estimate_of_the_scale_nothing_is_marked_as_above_the_data():
    runs = [a_run({"return": [0.1] * 20}, won=[1] * 30)]
    assert all(entry.above_data == () for measure in ("won", "return", "score") for entry in entries_of(runs, measure))
    assert list(rows(runs, "won")) == ["random policy", "vgm2p"]
    assert "*" not in table(runs).split("mean [95 %")[0]


def test_a_task_without_scores_compares_returns():
    runs = [a_run({"return": [5.0] * 20}, score=False)]
    assert rows(runs, "return")["vgm2p"].above_data == (None,)


def test_differences_of_scores_are_left_out_where_scores_are_returns():
    for return_, measures in ((None, ["won", "return"]), (7.0, ["won", "return", "score"])):
        runs = [a_run(DATA, return_=return_), replace(a_run(DATA, won=[0] * 4, return_=return_), name="clone")]
        lines = versus(runs, "clone").splitlines()[2:]
        assert [line.split("|")[3].strip() for line in lines] == measures


def test_references_come_from_the_first_run_that_knows_them():
    """Folders of earlier versions have no victories of the random policy and of the dataset."""
    old, new = a_run(DATA), replace(a_run(DATA), name="clone")
    for key in [key for key in old.results if "_won_" in key or "_score_" in key]:
        del old.results[key]
    assert list(rows([old, new], "won")) == ["vgm2p", "random policy", "dataset mean", "clone"]
    assert list(rows([new, old], "won")) == ["random policy", "dataset mean", "clone", "vgm2p"]


def test_a_single_episode_has_no_interval_and_no_star():
    runs = [a_run({"return": [5.0]}, score=False, won=[1], return_=40.0)]
    entry = rows(runs, "return")["vgm2p"]
    assert entry.cells[None][0] == 40.0 and all(map(math.isnan, entry.cells[None][1:]))
    assert entry.above_data == () and rows(runs, "won")["vgm2p"].above_data == ()
    returns = table(runs).split("| return")[1]
    assert row_cells(returns, "vgm2p") == ["vgm2p", "40.0<", "40.0"]
    assert row_cells(returns, "dataset mean")[1] == "5.0"
    assert "battle,vgm2p,,return,40,,,1,1,0\n" in as_csv(runs)
    other = replace(a_run({"return": [5.0]}, score=False), name="other")
    line = next(line for line in versus([*runs, other], "other").splitlines() if " return " in line)
    assert cells_of(line)[-1] == "-23.8"


def test_the_random_policy_and_the_dataset_have_no_counts_in_the_csv():
    lines = as_csv([a_run(DATA)]).splitlines()
    found = [line for line in lines if ",random policy," in line or ",dataset mean," in line]
    assert len(found) == 6 and all(line.endswith(",,,") for line in found)
    assert not [line for line in lines if line.endswith(",0,0,0")]


def test_a_single_episode_has_a_null_interval_in_json(tmp_path):
    write_json(tmp_path / "a.json", statistics(battles([1])) | references("random", by_measure(battles([1]))))
    found = read_json(tmp_path / "a.json", "the run")
    assert found["return_ci95"] == found["random_return_ci95"] == [None, None]
    assert damaged_entry(dict(SOUND, random_return_mean=1.0, random_return_ci95=[None, None])) is None
    assert damaged_entry(dict(SOUND, random_return_mean=1.0, random_return_ci95=[None, 1.0]))
