"""`python -m tools.results`: which cells are run, what a failure leaves, and the exit code."""

import os
import signal
import sys
import zipfile

import pytest

from tests.report.finished_runs import write_run
from tools.results import __main__ as command_line
from tools.results import battles, robots
from tools.results.archive import FILES
from tools.results.cells import Row, cells, finished, keep_finished, restore, run, run_missing
from vgm2p.errors import MissingInput

ROW = next(row for row in robots.MAIN if row.label == "bc_mse")
SET = "quickstart"
PLAN = {"one": [([SET], [ROW])], "two": [([SET], [ROW, robots.PLUS])]}


@pytest.fixture
def fit(tmp_path, monkeypatch):
    """Return a function that lets a Python program take the place of the command that runs a cell."""

    def replaced(program):
        words = [sys.executable, "-c", program]
        monkeypatch.setattr("tools.results.cells.command", lambda experiment, row, runs: words)
        return tmp_path / "runs", tmp_path / "cells"

    return replaced


def test_a_cell_of_two_parts_is_run_once():
    assert list(cells(PLAN, ["one", "two"])) == [(SET, ROW), (SET, robots.PLUS)]
    every = list(cells(battles.PARTS, list(battles.PARTS)))
    assert len(every) == len(set(every))


def test_a_killed_cell_gives_an_exit_code_and_its_own_last_line(fit, capsys):
    runs, archive = fit(f"import os; print('half', flush=True); os.kill(os.getpid(), {signal.SIGKILL:d})")
    log = runs / SET / f"{ROW.label}.log"
    log.parent.mkdir(parents=True)
    log.write_text("of an earlier try\n")
    assert run_missing(PLAN, ["one"], runs, archive, jobs=1) == 1
    assert capsys.readouterr().out == f"{SET}: {ROW.label}\n{SET}: {ROW.label}: exit -9: half\n"
    assert log.read_text() == "of an earlier try\nhalf\n"
    assert not archive.exists()


def test_a_cell_without_output_or_results_is_not_finished(fit, capsys):
    runs, archive = fit("")
    assert run(SET, ROW, runs, archive) == 1
    assert capsys.readouterr().out.endswith(f"exit 0: no output in {runs / SET / ROW.label}.log\n")
    assert not archive.exists()


def test_a_packed_cell_of_other_settings_is_not_unpacked_and_can_run_again(tmp_path):
    runs, archive = tmp_path / "runs", tmp_path / "cells"
    write_run(runs, SET, ROW, [None], lambda way, seed, episode: (1.0, ""))
    keep_finished(PLAN, ["one"], runs, archive)
    longer = Row(ROW.label, ROW.overrides, ROW.minutes, (*ROW.size, "updates=20000"))
    plan = {"one": [([SET], [longer])]}
    restore(plan, ["one"], tmp_path / "other", archive)
    assert not (tmp_path / "other" / SET / ROW.label).exists()
    restore(PLAN, ["one"], tmp_path / "other", archive)
    assert finished(tmp_path / "other", SET, ROW)
    with zipfile.ZipFile(archive / SET / f"{ROW.label}.zip") as packed:
        assert set(packed.namelist()) == set(FILES)


def test_without_recorded_battles_the_pages_stay(tmp_path, monkeypatch, capsys):
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "results.md").write_text("the page\n")
    monkeypatch.setenv("VGM2P_DATA", str(tmp_path / "data"))
    words = ["battles", "--write", "--runs", str(tmp_path / "runs"), "--docs", str(docs)]
    monkeypatch.setattr(sys, "argv", ["tools.results", *words])
    assert command_line.main() == MissingInput.exit_code
    error = capsys.readouterr().err
    assert error.startswith("vgm2p: ") and error.count("\n") == 1
    assert "make results-smax" in error and os.fspath(tmp_path) in error
    assert [path.name for path in docs.iterdir()] == ["results.md"]
    assert (docs / "results.md").read_text() == "the page\n"
