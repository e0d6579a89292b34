"""What README.md claims is what the pages of results and of speed say."""

import itertools
import re

from tests.house import ROOT

README = (ROOT / "README.md").read_text()
SETS = ("medium_replay", "medium", "medium_expert")


def row(page, name, column):
    """Return a cell of the first table of a page that has a row and a column of these names."""
    for table in re.findall(r"(?:^\|.*\n)+", (ROOT / page).read_text(), re.MULTILINE):
        lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
        found = [line for line in lines if line[0] == name]
        if column in lines[0] and found:
            return found[0][lines[0].index(column)]
    raise AssertionError(f"{page}: no {column} of {name}")


def best(page, experiment):
    """Return row -> mean return in its best way to act, of the main table of returns of an experiment."""
    lines = (ROOT / page).read_text().splitlines()
    start = next(
        i for i, line in enumerate(lines) if re.match(r"\| return +\|", line) and experiment in lines[i - 8 : i]
    )
    found = {}
    for line in itertools.takewhile(lambda line: line.startswith("|"), lines[start + 2 :]):
        name, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        found[name] = max(int(value) for cell in cells[:-1] if (value := cell.partition(" ")[0]).lstrip("-").isdigit())
    return found


def test_cloning_by_return_is_as_good_as_the_first_page_says():
    names = [f"recorded_{robot}_{kind}" for robot in ("6halfcheetah", "3hopper") for kind in SETS]
    for experiment in names:
        drawn = best("docs/baselines.md", experiment)["bc_x_return"]
        others = {**best("docs/results.md", experiment), **best("docs/baselines.md", experiment)}
        assert len(others) > 8
        assert all(drawn > value for name, value in others.items() if not name.endswith("_return")), experiment
    replay = "recorded_6halfcheetah_medium_replay"
    figures = re.search(r"4774 against (\d+) of `vgm2p_plus` and (\d+) of cloning all", README).groups()
    assert [str(best("docs/results.md", replay)[name]) for name in ("vgm2p_plus", "bc_meanflow")] == list(figures)
    assert best("docs/baselines.md", replay)["bc_x_return"] == 4774
    figures = re.search(r"it reaches (\d+), .*?0\.25`\) (\d+),\s+`vgm2p_plus` (\d+)", README).groups()
    quick = {**best("docs/results.md", "quickstart"), **best("docs/baselines.md", "quickstart")}
    assert [str(quick[name]) for name in ("bc_x_return", "bc_meanflow_best25", "vgm2p_plus")] == list(figures)


def test_pages_that_promise_cuda_say_whether_a_gpu_has_run_it():
    speed = (ROOT / "docs/performance.md").read_text()
    unrun = "None of this has run on a GPU yet" in speed
    assert ("has not run on a GPU yet" in README) == unrun
    assert ("No GPU has run this code yet" in (ROOT / "docs/concepts.md").read_text()) == unrun
