"""The half of the results page about robots, written from finished runs whose mean returns are known."""

import re

import pytest

from tests.report.finished_runs import row_cells, write_run
from tools.results.cells import cells, finished
from tools.results.page import BORDER
from tools.results.robots import MAIN, MEDIUM, PARTS, REPLAY
from tools.results.robots_page import RIVALS, SEEN_SEEDS, SEEN_STARTS, write

WAYS = [1.0, 0.5, 0.25, 0.0, "shared"]
ROWS = {line.label: line for line in MAIN}
BEST = {"vgm2p_chosen": (0.25, 300.0), "vgm2p": (0.0, 250.0), "bc_flow": (0.5, 200.0), "bc_meanflow": ("shared", 150.0)}
SEEN = 10_000.0  # what vgm2p_chosen returns above this where its choice was made


def run_of(runs, experiment, label, seen_is_better=False, **changes):
    """Every way to act returns 100, the best one of BEST more, `vgm2p_chosen` even more on what its choice has seen."""
    better, most = BEST.get(label, (None, 120.0))

    def outcome(way, seed, episode):
        seen = seen_is_better and label == "vgm2p_chosen" and (seed < SEEN_SEEDS or episode < SEEN_STARTS)
        return (most if way == better else 100.0) + (SEEN if seen else 0.0), ""

    write_run(runs, experiment, ROWS[label], [None] if label == "bc_gaussian" else WAYS, outcome, changes)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    runs, docs = tmp_path_factory.mktemp("runs"), tmp_path_factory.mktemp("docs")
    for label in (*RIVALS, "vgm2p_chosen"):
        run_of(runs, REPLAY[0], label)
        run_of(runs, REPLAY[1], label, seen_is_better=True)
    run_of(runs, MEDIUM[0], "bc_flow", **{"data.batch_size": 65})
    run_of(runs, MEDIUM[0], "bc_gaussian", updates=5000)
    run_of(runs, MEDIUM[0], "bc_meanflow")
    (docs / "results.md").write_text(f"old\n\n{BORDER}\n\nbattles\n")
    write(runs, docs)
    assert finished(runs, MEDIUM[0], ROWS["bc_meanflow"])
    return docs / "results.md"


def row(page, start, *, after):
    """Return the cells of the first table row that starts so, below some words."""
    return row_cells(page.read_text().split(after, 1)[1], start)


def test_every_method_is_shown_in_its_best_way_to_act(page):
    found = row(page, REPLAY[0], after="## In short")
    assert found[1:7] == ["140", "120", "200", "150", "250", "300"]
    assert found[7:] == ["50 [50, 50]*", "+20%"]


def test_the_table_of_unseen_seeds_and_starts_leaves_out_those_of_the_choice(page):
    assert float(row(page, REPLAY[1], after="## In short")[6]) > 300 + SEEN / 2
    found = row(page, REPLAY[1], after="ranked none of its variants")
    assert found[1:] == ["120", "200", "150", "250", "300", "50 [50, 50]*"]


def test_what_is_missing_or_was_run_with_other_settings_is_named_and_not_shown(page):
    text = page.read_text()
    named = re.findall(r"^- (\w+: \w+)$", text.split("## Not run yet")[1].split(BORDER)[0], re.MULTILINE)
    every = {f"{experiment}: {line.label}" for experiment, line in cells(PARTS, list(PARTS))}
    shown = {f"{experiment}: {label}" for experiment in REPLAY for label in (*RIVALS, "vgm2p_chosen")}
    assert set(named) == every - shown - {f"{MEDIUM[0]}: bc_meanflow"}
    assert f"({len(every) - len(named)} of {len(every)} cells finished)" in text
    section = text.split(f"## {MEDIUM[0]}\n")[1].split("\n## ")[0]
    assert "bc_meanflow" in section
    assert "bc_flow" not in section
    assert "bc_gaussian" not in section


def test_the_other_half_of_the_page_stays_and_all_pictures_exist(page):
    assert page.read_text().endswith(f"{BORDER}\n\nbattles\n")
    for name in re.findall(r"\]\((results/\S+)\)", page.read_text()):
        assert (page.parent / name).stat().st_size > 0
    assert "commits 01234567" in page.read_text()
    assert "took 11.0 hours of one process" in page.read_text()
