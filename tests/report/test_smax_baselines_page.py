"""docs/smax_baselines.md, written from finished runs whose win rates are known."""

import json

import numpy as np
import pytest

from tests.report.finished_runs import row_cells, write_run
from tests.support import small_columns
from tools.results import battles
from tools.results.cells import cells
from tools.results.smax_baselines_page import ROWS, write
from vgm2p.datamodules.layout.writing import write as write_columns

WINS = {"bc_gaussian": 10, "ma_bcq": 15, "ma_cql": 2}  # of every 20
LOGGED = {
    "ma_bcq": {"q_mean": 0.5, "q_fixed_point": 2.0, "kept": 0.25},
    "ma_cql": {"q_mean": 1.5, "q_fixed_point": 2.0, "penalty": 3.0},
}


def data_in(folder):
    """Return the settings of a run whose data lie in another folder."""
    path = f"{folder}/smax/3m_mixed.h5"
    command = f"vgm2p collect env=smax/3m recipe=mixed out={path}"
    return {"data.root": folder, "data.source.paths": [path], "data.source.command": command}


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    runs, docs = tmp_path_factory.mktemp("runs"), tmp_path_factory.mktemp("docs")
    for label, wins in WINS.items():
        write_run(
            runs,
            "smax_3m",
            next(row for row in ROWS if row.label == label),
            [None],
            lambda way, seed, episode, wins=wins: (1.0, int(episode < wins)),
            data_in("/nowhere"),
            LOGGED.get(label),
        )
    write(runs, docs)
    return (docs / "smax_baselines.md").read_text()


def line(text, section, label):
    """Return the cells of the first table row with a label, after the first words of a section."""
    return row_cells(text[text.index(section) :], f"{label} ")


def test_a_difference_to_the_clone_has_a_star_if_its_interval_excludes_zero(text):
    better, worse = (line(text, "Differences", label)[2] for label in ("ma_bcq", "ma_cql"))
    assert better.startswith("0.25 [") and better.endswith("]*")
    assert worse.startswith("-0.40 [") and worse.endswith("]*")
    assert line(text, "Differences", "bc_gaussian") == ["bc_gaussian", "", ""]


def test_a_row_that_wins_every_battle_has_an_interval_of_its_difference(tmp_path):
    """A bootstrap of equal outcomes has no spread: both rows at 20 of 20 would differ by 0 exactly."""
    for label in ("bc_gaussian", "ma_bcq"):
        row = next(row for row in ROWS if row.label == label)
        write_run(tmp_path, "smax_3m", row, [None], lambda way, seed, episode: (1.0, 1), data_in("/nowhere"))
    write(tmp_path, tmp_path)
    found = line((tmp_path / "smax_baselines.md").read_text(), "Differences", "ma_bcq")[2]
    assert found == "0.00 [-0.16, 0.16]"  # Wilson: 20 of 20 starts won is a rate of at least 0.84


def test_diagnostics_are_those_of_the_last_log(text):
    assert line(text, "Diagnostics", "ma_bcq")[1:] == ["0.50", "2.00", "0.25", ""]
    assert line(text, "Diagnostics", "ma_cql")[1:] == ["1.50", "2.00", "", "3.00"]


def test_what_is_missing_and_the_commit_are_named(text):
    named = {x[2:] for x in text.split("## Not run yet")[1].splitlines() if x.startswith("- ")}
    every = {f"{experiment}: {row.label}" for experiment, row in cells(battles.PARTS, ["values"])}
    assert named == every - {f"smax_3m: {label}" for label in WINS}
    assert f"({len(WINS)} of {len(every)} cells\nfinished; commit 01234567)" in text


def test_rows_are_compared_with_the_recorded_data_that_a_packed_cell_names(tmp_path, monkeypatch):
    monkeypatch.setenv("VGM2P_DATA", str(tmp_path))
    columns = small_columns(lengths=(2, 3, 2, 4))
    start, length = columns.episodes["start"], columns.episodes["length"]
    columns.steps["rewards"][start + length - 1] = [1.5, 0.2, 0.3, 0.4]
    columns.episodes["return"] = np.add.reduceat(columns.steps["rewards"].astype(np.float64), start)
    columns.episodes["behaviour"] = np.zeros(4, np.int16)
    columns.attributes["behaviours"] = json.dumps([{"policy": "heuristic", "noise": 0}])
    (tmp_path / "smax").mkdir()
    digest = write_columns(tmp_path / "smax" / "3m_mixed.h5", columns)
    packed = data_in("$VGM2P_DATA")
    write_run(tmp_path, "smax_3m", battles.CLONE, [None], lambda way, seed, episode: (1.0, episode % 2), packed)
    manifest = tmp_path / "smax_3m" / battles.CLONE.label / "manifest.json"
    manifest.write_text(manifest.read_text().replace("d" * 64, digest))
    write(tmp_path, tmp_path)
    text = (tmp_path / "smax_baselines.md").read_text()
    assert line(text, "Differences", "bc_gaussian")[1].startswith("0.25 [")
