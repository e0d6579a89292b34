"""What README.md claims is what the pages of results and of speed say."""

import re

from tests.house import ROOT

README = (ROOT / "README.md").read_text()


def row(page, name, column):
    """Return a cell of the first table of a page that has a row and a column of these names."""
    for table in re.findall(r"(?:^\|.*\n)+", (ROOT / page).read_text(), re.MULTILINE):
        lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
        found = [line for line in lines if line[0] == name]
        if column in lines[0] and found:
            return found[0][lines[0].index(column)]
    raise AssertionError(f"{page}: no {column} of {name}")


def test_the_figures_of_the_flag_are_those_of_the_results():
    figures = re.search(r"it reaches (\d+), `vgm2p_plus` (\d+) and\s+cloning of all episodes (-?\d+)", README).groups()
    columns = ("bc_meanflow_best25", "vgm2p_plus", "bc_meanflow")
    assert figures == tuple(row("docs/results.md", "quickstart", column) for column in columns)
    assert "data.best_share=0.25" in README


def test_pages_that_promise_cuda_say_whether_a_gpu_has_run_it():
    speed = (ROOT / "docs/performance.md").read_text()
    unrun = "None of this has run on a GPU yet" in speed
    assert ("has not run on a GPU yet" in README) == unrun
    assert ("No GPU has run this code yet" in (ROOT / "docs/concepts.md").read_text()) == unrun
