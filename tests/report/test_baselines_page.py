"""docs/baselines.md, written from finished runs whose mean returns are known."""

import pytest

from tests.report.finished_runs import cells_of, row_cells, write_run
from tools.results.baselines import LONGER, PARTS, SHORT_ROWS, longer
from tools.results.baselines_page import HOPPER, REFERENCES, write
from tools.results.cells import cells, settings
from vgm2p.run.fingerprint import differences

ROWS = {row.label: row for row in SHORT_ROWS}


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    runs, docs = tmp_path_factory.mktemp("runs"), tmp_path_factory.mktemp("docs")
    # half of the episodes fall: mean and median are both 800, but no episode has that return
    write_run(runs, HOPPER, ROWS["ma_td3bc"], [None], lambda way, seed, e: (1700.0 if e % 20 >= 10 else -100.0, ""))
    write_run(runs, HOPPER, ROWS["bc_gaussian"], [None], lambda way, seed, episode: (40.9, ""))
    write_run(runs, HOPPER, ROWS["mac_flow"], [1.0, 0.5, 0.0], lambda way, seed, episode: (300.0 * way, ""))
    write_run(runs, "quickstart", ROWS["bc_mse_return"], [None], lambda way, seed, episode: (7.0, ""))
    write_run(runs, "quickstart", ROWS["omiga"], [None], lambda way, seed, episode: (8.0, ""))
    write(runs, docs)
    return (docs / "baselines.md").read_text()


def test_a_row_that_is_not_planned_for_a_set_is_not_shown(text):
    """Other commands leave their cells in the same folder."""
    section = text[text.index("## quickstart") :]
    assert "| bc_mse_return " in section and "| omiga " not in section


def test_the_authors_value_is_reached_where_the_interval_overlaps_its_range(text):
    mean, median, theirs, verdict = row_cells(text, f"{HOPPER} | ma_td3bc")[3:]
    assert mean.startswith("800 [")
    assert (median, theirs, verdict) == ("800", "402 +- 443", "reached")
    assert row_cells(text, f"{HOPPER} | bc_gaussian")[-1] == "not reached"


def test_a_policy_with_start_noise_is_compared_in_each_way_to_act(text):
    lines = [cells_of(x) for x in text.splitlines() if x.startswith("| ")]
    found = [cells for cells in lines if cells[:2] == [HOPPER, "mac_flow"]]
    assert [(way, mean.split()[0], verdict) for _, _, way, mean, _, _, verdict in found] == [
        ("1", "300", "reached"),
        ("0.5", "150", "reached"),
        ("0", "0", "not reached"),
    ]


def test_every_reference_names_a_row_and_a_set_of_the_plan():
    planned = {(experiment, row.label) for experiment, row in cells(PARTS, list(PARTS))}
    assert {(reference.experiment, reference.label) for reference in REFERENCES} <= planned


def test_what_is_missing_is_named(text):
    lines = [x[2:].split(": ") for x in text.split("## Not run yet")[1].splitlines() if x.startswith("- ")]
    missing = {f"{experiment}: {label}" for experiment, labels in lines for label in labels.split(", ")}
    every = {f"{experiment}: {row.label}" for experiment, row in cells(PARTS, list(PARTS))}
    done = {f"{HOPPER}: {label}" for label in ("ma_td3bc", "bc_gaussian", "mac_flow")}
    assert missing == every - done - {"quickstart: bc_mse_return"}


def test_a_longer_row_differs_in_its_budget_alone():
    short, long = (settings(HOPPER, row) for row in (ROWS["vgm2p"], longer(ROWS["vgm2p"])))
    assert long["updates"] == LONGER * short["updates"]
    assert long["optim"]["decay_updates"] == LONGER * short["optim"]["decay_updates"]
    budget = {"updates", "eval_every", "checkpoint_every", "optim.decay_updates", "algo.optim.decay_updates"}
    assert {change.key for change in differences(short, long)} <= budget
