"""What README.md claims is what the pages of results and of speed say."""

import itertools
import re

from tests.house import ROOT

README = (ROOT / "README.md").read_text()
SETS = ("medium_replay", "medium", "medium_expert")


def best(page, experiment):
    """Return row -> mean return in its best way to act, of every table of returns of an experiment on a page."""
    lines, found = (ROOT / page).read_text().splitlines(), {}
    for i, line in enumerate(lines):
        if re.match(r"\| return +\|", line) and experiment in lines[i - 8 : i]:
            for each in itertools.takewhile(lambda text: text.startswith("|"), lines[i + 2 :]):
                name, *cells = [cell.strip() for cell in each.strip("|").split("|")]
                means = [cell.partition(" ")[0] for cell in cells[:-1]]
                found[name] = max(int(mean) for mean in means if mean.lstrip("-").isdigit())
    return found


def test_cloning_by_return_is_as_good_as_the_first_page_says():
    above = []
    for experiment in (f"recorded_{robot}_{kind}" for robot in ("6halfcheetah", "3hopper") for kind in SETS):
        rows = {**best("docs/results.md", experiment), **best("docs/baselines.md", experiment)}
        assert len(rows) > 10
        drawn = rows.pop("vgm2p_plus")
        above += [(experiment, name) for name in rows if rows[name] >= drawn and name != "bc_mse_return"]
    assert {experiment for experiment, _ in above} == {"recorded_3hopper_medium_replay"}
    assert sum(name.startswith("plus_") for _, name in above) == len(above) == 3
    assert "three variants of `vgm2p_chosen`" in README
    replay = "recorded_6halfcheetah_medium_replay"
    rows = {**best("docs/results.md", replay), **best("docs/baselines.md", replay)}
    figures = re.search(r"(\d+) against (\d+) of `ma_cql` and (\d+) of cloning all", README).groups()
    assert [str(rows[name]) for name in ("vgm2p_plus", "ma_cql", "bc_meanflow")] == list(figures)
    figures = re.search(r"it reaches (\d+), .*?0\.25`\) (\d+)\.", README, re.DOTALL).groups()
    quick = {**best("docs/results.md", "quickstart"), **best("docs/baselines.md", "quickstart")}
    assert [str(quick[name]) for name in ("vgm2p_plus", "bc_meanflow_best25")] == list(figures)


def test_pages_that_promise_cuda_say_whether_a_gpu_has_run_it():
    speed = (ROOT / "docs/performance.md").read_text()
    unrun = "None of this has run on a GPU yet" in speed
    assert ("has not run on a GPU yet" in README) == unrun
    assert ("No GPU has run this code yet" in (ROOT / "docs/concepts.md").read_text()) == unrun
