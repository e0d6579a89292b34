"""What README.md claims is what the pages of results and of speed, and the packed cells, say."""

import itertools
import re

from tests.house import ROOT
from tools.results.archive import unpack
from vgm2p.report.estimates import mean
from vgm2p.report.runs import final_values, load_run
from vgm2p.report.tables import best_way

README = (ROOT / "README.md").read_text()
CELLS, CHEETAH = ROOT / "docs" / "results" / "cells", "recorded_6halfcheetah_medium_replay"
SETS = ("medium_replay", "medium", "medium_expert")
# Rows that prefer good episodes, and those with more updates.
APART = re.compile(r"vgm2p_plus|vgm2p_chosen|plus_(?!best_share_1)|.*(best25|_return|_10|_x4)")


def returns(experiment):
    """Return row -> (mean, low, high) in its best way to act, of the tables of returns of an experiment on both pages."""
    found = {}
    for page in ("docs/results.md", "docs/baselines.md"):
        lines = (ROOT / page).read_text().splitlines()
        for i, line in enumerate(lines):
            if re.match(r"\| return +\|", line) and experiment in lines[i - 8 : i]:
                for row in itertools.takewhile(lambda text: text.startswith("|"), lines[i + 2 :]):
                    ways = re.findall(r"(-?\d+) \[(-?\d+), (-?\d+)\]", row)
                    found[row.split("|")[1].strip()] = max(tuple(map(int, way)) for way in ways)
    return found


def packed(experiment, folder):
    """Return row -> mean in its best way to act, of the packed cells of an experiment; they are unpacked to a folder."""
    found = {}
    for cell in sorted((CELLS / experiment).glob("*.zip")):
        unpack(CELLS, f"{experiment}/{cell.stem}", folder)
        run = load_run(folder / experiment / cell.stem)
        found[cell.stem] = round(mean(final_values([run], best_way([run]))))
    return found


def test_cloning_by_return_is_as_good_as_the_first_page_says(tmp_path):
    rows = {name: best for name, (best, *_) in returns(CHEETAH).items()} | packed(CHEETAH, tmp_path)
    alike = {name: best for name, best in rows.items() if not APART.match(name)}
    clones = {name: best for name, best in alike.items() if name.startswith("bc_")}
    assert len(alike) > 10
    assert (max(alike, key=alike.get), max(clones, key=clones.get)) == ("ma_cql", "bc_meanflow_x")
    figures = (rows["vgm2p_plus"], rows["ma_cql"], rows["bc_meanflow_x"], rows["bc_mse_return"])
    assert said("it returns N. .* `ma_cql`, returns N, .* all episodes N .* choice returns N") == figures
    quick = returns("quickstart")
    figures = (quick["vgm2p_plus"][0], quick["bc_meanflow_best25"][0])
    assert said(r"quick start, `vgm2p_plus` returns N, .* \(`data.best_share=0.25`\) N\.") == figures


def said(words):
    """Return the numbers that README has in the place of N in these words."""
    return tuple(map(int, re.search(words.replace("N", r"(\d+)"), README.replace("\n", " ")).groups()))


def test_on_the_other_recordings_the_best_rows_cannot_be_told_apart():
    others = [f"recorded_{robot}_{kind}" for robot in ("6halfcheetah", "3hopper") for kind in SETS]
    for experiment in others[1:]:
        best, second, *_ = sorted(returns(experiment).values(), reverse=True)
        assert second[2] >= best[1], experiment


def test_pages_that_promise_cuda_say_whether_a_gpu_has_run_it():
    speed = (ROOT / "docs/performance.md").read_text()
    unrun = "None of this has run on a GPU yet" in speed
    assert ("has not run on a GPU yet" in README) == unrun
    assert ("No GPU has run this code yet" in (ROOT / "docs/concepts.md").read_text()) == unrun
