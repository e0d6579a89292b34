"""What README.md claims is what the packed cells of the tables, and the page of speed, say."""

import re

import pytest

from tests.house import ROOT
from tools.results.archive import unpack
from vgm2p.report.estimates import interval, mean
from vgm2p.report.runs import final_values, load_run
from vgm2p.report.tables import best_way

README = (ROOT / "README.md").read_text()
CELLS, CHEETAH, QUICK = ROOT / "docs" / "results" / "cells", "recorded_6halfcheetah_medium_replay", "quickstart"
SETS = ("medium_replay", "medium", "medium_expert")
OTHERS = [f"recorded_{robot}_{kind}" for robot in ("6halfcheetah", "3hopper") for kind in SETS][1:]
# Rows that prefer good episodes, and those with more updates.
APART = re.compile(r"vgm2p_plus|vgm2p_chosen|.*(best25|_return|_10|_x4)")


def returns(experiment, folder):
    """Return row -> (mean, low, high) in its best way to act, of the packed cells; they are unpacked to a folder."""
    found = {}
    for cell in sorted((CELLS / experiment).glob("*.zip")):
        unpack(CELLS, f"{experiment}/{cell.stem}", folder)
        run = load_run(folder / experiment / cell.stem)
        values = final_values([run], best_way([run]))
        found[cell.stem] = tuple(round(number) for number in (mean(values), *interval(values)))
    return found


def said(words):
    """Return the numbers that README has in the place of N in these words."""
    return tuple(map(int, re.search(words.replace("N", r"(\d+)"), README.replace("\n", " ")).groups()))


def test_cloning_by_return_is_as_good_as_the_first_page_says(tmp_path):
    rows = {name: best for name, (best, *_) in returns(CHEETAH, tmp_path).items()}
    alike = {name: best for name, best in rows.items() if not APART.match(name)}
    clones = {name: best for name, best in alike.items() if name.startswith("bc_")}
    assert len(alike) > 10
    assert (max(alike, key=alike.get), max(clones, key=clones.get)) == ("vgm2p_team", "bc_meanflow_x")
    figures = (rows["vgm2p_plus"], rows["vgm2p_team"], rows["ma_cql"], rows["bc_meanflow_x"], rows["bc_mse_return"])
    assert (
        said("it returns N. .* `algo.advantage=team`, returns N, `ma_cql` N, .* all episodes N .* choice returns N")
        == figures
    )


def test_the_quick_start_returns_what_the_first_page_says(tmp_path):
    rows = returns(QUICK, tmp_path)
    figures = (rows["vgm2p_plus"][0], rows["bc_meanflow_best25"][0])
    assert said(r"quick start, `vgm2p_plus` returns N, .* \(`data.best_share=0.25`\) N\.") == figures


@pytest.mark.parametrize("experiment", OTHERS)
def test_on_the_other_recordings_the_best_rows_cannot_be_told_apart(experiment, tmp_path):
    best, second, *_ = sorted(returns(experiment, tmp_path).values(), reverse=True)
    assert second[2] >= best[1]


def test_pages_that_promise_cuda_say_whether_a_gpu_has_run_it():
    speed = (ROOT / "docs/performance.md").read_text()
    unrun = "None of this has run on a GPU yet" in speed
    assert ("has not run on a GPU yet" in README) == unrun
    assert ("No GPU has run this code yet" in (ROOT / "docs/concepts.md").read_text()) == unrun
