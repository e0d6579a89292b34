"""The half of the results page about robots, written from finished runs whose mean returns are known."""

import re

import pytest

from tests.report.finished_runs import row_cells, write_run
from tools.results.cells import cells, finished
from tools.results.page import BORDER
from tools.results.robots import ABLATIONS, MAIN, MEDIUM, PARTS, REPLAY
from tools.results.robots_page import write

WAYS = [1.0, 0.5, 0.25, 0.0, "shared"]
ROWS = {line.label: line for line in [*MAIN, *ABLATIONS]}
# label -> way to act -> return; 100 in the others
RETURNS = {
    "vgm2p_plus": {0.25: 400.0, 0.0: 300.0},
    "bc_flow": {0.5: 200.0},
    "bc_flow_10": {1.0: 310.0, "shared": 350.0},
    "vgm2p": {1.0: 100.0},
    "vgm2p_omega5": {1.0: 70.0},
    "bc_gaussian": {None: 120.0},
}


def run_of(runs, experiment, label, **changes):
    def outcome(way, seed, episode):
        return RETURNS[label].get(way, 90.0), ""

    ways = [None] if label == "bc_gaussian" else WAYS
    write_run(runs, experiment, ROWS[label], ways, outcome, changes)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    runs, docs = tmp_path_factory.mktemp("runs"), tmp_path_factory.mktemp("docs")
    for label in RETURNS:
        run_of(runs, REPLAY[0], label)
    run_of(runs, MEDIUM[0], "bc_flow", **{"data.batch_size": 65})
    run_of(runs, MEDIUM[0], "bc_gaussian", updates=5000)
    run_of(runs, MEDIUM[0], "vgm2p")
    (docs / "results.md").write_text(f"old\n\n{BORDER}\n\nbattles\n")
    write(runs, docs)
    assert finished(runs, MEDIUM[0], ROWS["vgm2p"])
    return docs / "results.md"


def row(page, start, *, after):
    """Return the cells of the first table row that starts so, below some words."""
    return row_cells(page.read_text().split(after, 1)[1], start)


@pytest.mark.parametrize(
    ("label", "cell"),
    [
        ("vgm2p_plus ", "300 (400 at 0.25)"),
        ("bc_flow ", "90 (200 at 0.5)"),
        ("bc_flow_10 ", "310 (350 at shared)"),
        ("vgm2p ", "100"),
        ("bc_gaussian ", "120"),
        ("mean of the data", "140"),
    ],
)
def test_every_row_is_shown_in_its_own_way_to_act_and_in_its_best_one(page, label, cell):
    assert row(page, label, after="## All rows")[1] == cell


def test_the_method_is_compared_in_its_own_way_with_the_best_ways_of_the_best_rows(page):
    found = row(page, "6halfcheetah_medium_replay ", after="against the best of the others")
    assert found[1] == "300"
    expected = ["200 bc_flow", "100 [100, 100]*", "350 bc_flow_10", "-50 [-50, -50]*", "100 vgm2p", "200 [200, 200]*"]
    assert found[2:] == [*expected, "", ""]
    section = page.read_text().split("against the best of the others")[1].split("##")[0]
    assert "6halfcheetah_medium " not in section
    verdicts = ["lies above 0: none", "lies below 0: 6halfcheetah_medium_replay", "contains 0: none"]
    assert re.findall("^- (.*)$", section, re.MULTILINE) == verdicts


def test_what_is_missing_or_was_run_with_other_settings_is_named_and_not_shown(page):
    text = page.read_text()
    missing = text.split("## Not run yet")[1].split(BORDER)[0]
    lines = [[part.split(", ") for part in line] for line in re.findall(r"^- (.*): (.*)$", missing, re.MULTILINE)]
    named = {
        f"{experiment}: {label}" for experiments, labels in lines for experiment in experiments for label in labels
    }
    alike = ["3hopper_medium", "6halfcheetah_medium_expert", "3hopper_medium_expert", "quickstart"]
    assert alike in [experiments for experiments, _ in lines], "sets that lack the same rows share a line"
    assert "| omar" not in text.split("## Rows")[0]
    every = {f"{experiment.removeprefix('recorded_')}: {line.label}" for experiment, line in cells(PARTS, list(PARTS))}
    shown = {f"6halfcheetah_medium_replay: {label}" for label in RETURNS} | {"6halfcheetah_medium: vgm2p"}
    assert named == every - shown
    assert f"({len(shown)} of {len(every)} cells finished)" in text
    assert row(page, "bc_flow ", after="## All rows")[3] == row(page, "bc_gaussian ", after="## All rows")[3] == ""
    assert row(page, "vgm2p_omega5", after="The paper's ablations")[1] == "70 (90 at 0.5)"


def test_the_other_half_of_the_page_stays_and_all_pictures_exist(page):
    assert page.read_text().endswith(f"{BORDER}\n\nbattles\n")
    for name in re.findall(r"\]\((results/\S+)\)", page.read_text()):
        assert (page.parent / name).stat().st_size > 0
    assert "commits 01234567" in page.read_text()
    assert "took 7.0 hours of one process" in page.read_text()
