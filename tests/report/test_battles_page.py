"""The half of the results page about battles, and the configurations of the rows of all tables."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from tests.report.finished_runs import cells_of, row_cells, write_run
from tests.support import small_columns
from tools.results import baselines, battles, robots
from tools.results.battles_page import behaviours, write
from tools.results.cells import as_run, cells, command, settings
from tools.results.page import BORDER
from vgm2p.config.command_line import hydra_words
from vgm2p.config.compose import composed
from vgm2p.config.settings import training_part
from vgm2p.datamodules.layout.writing import write as write_columns
from vgm2p.errors import DataError
from vgm2p.report.estimates import mean
from vgm2p.report.runs import Run

ROWS = {row.label: row for row in battles.ROWS}
WINS = {  # of every 20
    "bc_gaussian": {"mode": 5, "sample": 2},
    "bc_flow": {1.0: 6, "mode": 4, "sample": 1},
    "vgm2p_plus": {0.0: 10, 1.0: 15, "mode": 3},
}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    runs, docs = tmp_path_factory.mktemp("runs"), tmp_path_factory.mktemp("docs")
    for label, wins in WINS.items():
        write_run(
            runs,
            "smax_3m",
            ROWS[label],
            list(wins),
            lambda way, seed, episode, wins=wins: (2.0 if episode < wins[way] else 1.0, int(episode < wins[way])),
        )
    (docs / "results.md").write_text(f"robots\n\n{BORDER}\n\nold\n")
    write(runs, docs)
    return (docs / "results.md").read_text()


def test_every_way_to_act_has_a_column_and_the_default_way_a_return_and_a_mark(page):
    header = cells_of(next(line for line in page.splitlines() if line.startswith("| ") and "| sample " in line))
    assert header == ["", "1", "0", "mode", "sample", "return", "minus bc_gaussian"]
    noise, quiet, mode, sample, returned, gap = row_cells(page, "vgm2p_plus ")[1:]
    assert noise.startswith("0.75 [") and mode.startswith("0.15 [") and sample == ""
    assert quiet.startswith("0.50 [") and quiet.endswith("]<") and "<" not in noise + mode
    assert returned.startswith("1.50 [") and gap.startswith("0.25 [")


def test_the_clone_has_no_difference_to_itself(page):
    noise, _, mode, sample, _, gap = row_cells(page, "bc_gaussian ")[1:]
    assert (noise, gap) == ("", "") and mode.startswith("0.25 [") and mode.endswith("<") and sample.startswith("0.10 [")


def test_vgm2p_plus_is_compared_with_the_best_way_of_the_best_other_row(page):
    """It wins 10 of 20 in its own way and bc_flow 6 at full noise; its own 15 at full noise do not count."""
    _, victories, rival, won, returned, other, more = row_cells(page, "smax_3m ")
    assert (victories, rival, returned, other) == ("0.50", "0.30 bc_flow", "1.50", "1.30 bc_flow")
    assert won == more and won.startswith("0.20 [0.0") and won.endswith("]*")
    assert page.count("- lies above 0: smax_3m\n- lies below 0: none\n- contains 0: none") == 2


def test_the_robots_half_stays_and_what_is_missing_is_named(page):
    assert page.startswith(f"robots\n\n{BORDER}\n\n# Battles: SMAX")
    assert "old" not in page.split(BORDER)[1].split()
    named = {
        f"{experiment}: {label}"
        for experiment, labels in re.findall(r"Not run yet on `(\w+)`: (.*)\.", page)
        for label in labels.replace("`", "").split(", ")
    }
    every = {f"{experiment}: {row.label}" for experiment, row in cells(battles.PARTS, battles.PAGE)}
    assert named == every - {f"smax_3m: {label}" for label in WINS}


def test_behaviours_of_the_recorded_data_are_rated_by_their_last_rewards(tmp_path):
    columns = small_columns(lengths=(2, 3, 2, 4))
    start, length = columns.episodes["start"], columns.episodes["length"]
    columns.steps["rewards"][start + length - 1] = [1.5, 0.2, 1.0, 1.1]
    columns.episodes["return"] = np.add.reduceat(columns.steps["rewards"].astype(np.float64), start)
    columns.episodes["behaviour"] = np.array([0, 0, 1, 1], np.int16)
    columns.attributes["behaviours"] = json.dumps([{"policy": "heuristic", "noise": noise} for noise in (0, 0.3)])
    digest = write_columns(tmp_path / "x.h5", columns)
    config = {"data": {"source": {"paths": [str(tmp_path / "x.h5")]}}}
    found = behaviours(Run(Path(), {"config": config, "data": {"digest": digest}}, {}, ""))
    names = [f"data: heuristic, noise {noise} (2 episodes)" for noise in ("0", "0.3")]
    assert [result.name for result in found] == [*names, "data"]
    assert [mean(result.won) for result in found] == [0.5, 1.0, 0.75]
    with pytest.raises(DataError, match="not the data of the cells"):
        behaviours(Run(Path(), {"config": config, "data": {"digest": "d" * 64}}, {"experiment": "smax_3m"}, "x"))


@pytest.mark.parametrize(
    ("experiment", "row"),
    [("quickstart", row) for row in (*robots.MAIN, *robots.ABLATIONS, *robots.LARGE_ROWS)]
    + [("recorded_3hopper_medium_replay", row) for row in (*baselines.SHORT_ROWS, *baselines.LONG_ROWS)]
    + [("smax_3m", row) for row in (*battles.ROWS, *battles.PAPER, *battles.WITH_HISTORY, *battles.VALUES)],
    ids=lambda value: getattr(value, "label", value),
)
def test_every_row_is_a_configuration_with_its_settings(experiment, row):
    config = OmegaConf.create(settings(experiment, row))
    asked = OmegaConf.from_dotlist([word for word in (*row.overrides, *row.size) if not word.startswith("algo=")])
    assert OmegaConf.merge(config, asked) == config
    _, _, _, word, *words = command(experiment, row, Path("runs"))
    assert training_part(as_run(composed(word, hydra_words(word, words)))) == training_part(settings(experiment, row))
