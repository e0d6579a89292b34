"""`report table=1|2`: the paper's numbers beside ours, which runs count, and the difference against a slow reference."""

import csv
import math
import random
import shutil
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
import yaml

import vgm2p
from tests.report.finished_runs import row_cells, write_run
from tests.run.runs import program, succeeded
from tools.results.cells import Row
from vgm2p.config.compose import config_folder, options
from vgm2p.errors import ConfigError
from vgm2p.report.aggregates import aggregate_text, improvement, pooled_iqm, seed_scores
from vgm2p.report.estimates import iqm
from vgm2p.report.paper.cells import cells_of, difference_to
from vgm2p.report.paper.layout import notes, paper_csv, paper_table
from vgm2p.report.paper.published import AVERAGE, published
from vgm2p.report.paper.scaling import Scale, normalised
from vgm2p.report.runs import load_runs
from vgm2p.report.tables import versus
from vgm2p.run.folder import RunFolder, write_json

MEDIUM, EXPERT = "mamujoco_3hopper_medium", "mamujoco_3hopper_expert"


def stored_rows():
    """Return (table, environment, scenario, dataset, algorithm) -> (mean, std) of the file, read apart."""
    with (Path(vgm2p.__file__).parent / "data" / "published-results.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["source"].startswith("VGM2P")]
    keys = ("table", "environment", "scenario", "dataset", "algorithm")
    return {tuple(row[key] for key in keys): (row["mean"], row["std"]) for row in rows}


def test_every_number_of_the_paper_has_an_experiment_and_an_algorithm_of_ours():
    stored = stored_rows()
    for number, count in ((1, 150), (2, 96)):
        cells = [each for each in published(number) if each.row != AVERAGE]
        assert len(cells) == count
        assert {each.experiment for each in cells} <= {*options("experiment")}
        assert {each.algorithm for each in cells} <= {*options("algo")}
        sweep = yaml.safe_load((config_folder() / "sweep" / f"table{number}.yaml").read_text())
        planned = {key: set(str(value).split(",")) for key, value in sweep["hydra"]["sweeper"]["params"].items()}
        assert {each.experiment for each in cells} == planned["experiment"]
        assert {each.algorithm for each in cells} <= planned["algo"]
        found = {(each.group, *each.row.rsplit(" ", 1), each.column): (each.mean, each.std) for each in cells}
        expected = {key[1:]: values for key, values in stored.items() if key[0] == f"Table {number}" and values[1]}
        assert found == {key: (float(mean), float(std)) for key, (mean, std) in expected.items()}


def slow_difference(ours, theirs, std):
    """Return mean and interval of ours - theirs by drawing one sample after another, with other random numbers."""
    source, drawn = random.Random(7), []
    starts = len(ours[0])
    for _ in range(20_000):
        seeds = [source.choice(ours) for _ in ours]
        episodes = [source.randrange(starts) for _ in range(starts)]
        mine = fmean(fmean(seed[e] for e in episodes) for seed in seeds)
        student = source.gauss(0, 1) / math.sqrt(fmean(source.gauss(0, 1) ** 2 for _ in range(5)))
        drawn.append(mine - (theirs + student * std / math.sqrt(6)))
    return fmean(map(fmean, ours)) - theirs, *np.percentile(drawn, [2.5, 97.5])


def test_the_difference_joins_both_errors():
    source = random.Random(1)
    ours = [[100 + 5 * seed + source.gauss(0, 10) for _ in range(10)] for seed in range(6)]
    mine, slow = difference_to(ours, 90.0, 12.0), slow_difference(ours, 90.0, 12.0)
    assert mine[0] == pytest.approx(slow[0])
    assert mine[1:] == pytest.approx(slow[1:], abs=0.04 * (slow[2] - slow[1]))
    half = 2.5706 * 12.0 / math.sqrt(6)  # Student's quantile of 5 degrees of freedom: ours has no error
    assert difference_to([[95.0] * 10] * 6, 90.0, 12.0) == pytest.approx((5.0, 5.0 - half, 5.0 + half), rel=0.04)
    assert difference_to([[95.0]], 90.0, 12.0)[0] == 5.0
    assert all(map(math.isnan, difference_to([[95.0]], 90.0, 12.0)[1:]))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folders of runs: two good cells, one with two seeds, and some with other settings or simulators."""
    place = tmp_path_factory.mktemp("made")

    def write(folder, experiment, algorithm, words=(), level=1000.0, seeds=6, updates=500_000, changes=None):
        row = Row(algorithm, (f"algo={algorithm}", *words), 1, ())
        ways = [1.0] if algorithm == "vgm2p" else [None]
        outcome = lambda way, seed, episode: (level + 10 * seed + episode, "")  # noqa: E731
        write_run(place / folder, experiment, row, ways, outcome, changes, seeds=seeds, updates=updates)

    write("a", MEDIUM, "vgm2p")
    write("a", MEDIUM, "ma_td3bc", level=500.0)
    write("a", EXPERT, "vgm2p", level=2000.0, seeds=2)
    write("narrow", MEDIUM, "vgm2p", ("net.width=64",))
    write("short", MEDIUM, "vgm2p", updates=10_000)
    write("source", MEDIUM, "ma_td3bc")
    manifest = place / "source" / MEDIUM / "ma_td3bc" / "manifest.json"
    content = yaml.safe_load(manifest.read_text())
    write_json(manifest, {**content, "config": {**content["config"], "protocol": "source"}})
    write("smax", "smax_3m", "bc_gaussian", level=1.0)
    write("copy", MEDIUM, "vgm2p")
    return place


@pytest.fixture(scope="module")
def table2(runs):
    loaded, notices = load_runs([runs / "*" / "*" / "*"])
    assert not notices
    return cells_of(2, loaded)


def cell(cells, experiment, algorithm):
    return next(c for c in cells if (c.published.experiment, c.published.algorithm) == (experiment, algorithm))


def test_runs_with_the_papers_settings_fill_cells_and_others_are_named(table2, runs):
    cells, lines = table2
    assert {(c.published.experiment, c.published.algorithm) for c in cells if c.runs} == {
        (MEDIUM, "vgm2p"),
        (MEDIUM, "ma_td3bc"),
        (EXPERT, "vgm2p"),
    }
    assert len(cell(cells, MEDIUM, "vgm2p").ours) == 6
    said = {
        "narrow": "other settings than the table's: net.width: 512 -> 64",
        "short": "other settings than the table's: updates: 500000 -> 10000",
        "source": "protocol=source; the table has protocol=paper",
    }
    for folder, reason in said.items():
        (line,) = [line for line in lines if f"{runs / folder}/" in line]
        assert line.startswith("left out: ") and line.endswith(reason)
    assert any(f"{runs / 'copy'}/" in line and "another run has them" in line for line in lines)
    assert "not in table 2: runs of smax_3m" in lines


def test_the_table_shows_paper_ours_and_difference(table2):
    cells, _ = table2
    text = paper_table(2, cells, Scale())
    assert max(map(len, text.splitlines())) <= 120
    ours = cell(cells, MEDIUM, "vgm2p")
    block = next(part for part in text.split("\n\n") if "VGM2P" in part)
    column = (
        block.splitlines()[0].split("|").index(next(c for c in block.splitlines()[0].split("|") if "VGM2P" in c)) - 1
    )
    paper, mine, gap = (row_cells(block, f"3hopper Medium {line}")[column] for line in ("paper", "ours", "difference"))
    mean, std = stored_rows()["Table 2", "mamujoco", "3hopper", "Medium", "VGM2P"]
    assert paper == f"{float(mean):.1f} ± {float(std):.1f}"
    assert mine.startswith(("1034 [1", "1035 [1"))
    assert gap.startswith(f"{1034.5 - float(mean):.0f} [")
    assert ours.difference()[1:] == pytest.approx(
        slow_difference(ours.ours, float(mean), float(std))[1:], rel=0.05, abs=5
    )
    assert row_cells(block, "3hopper Expert ours")[column].endswith("†")
    assert "6halfcheetah Medium ours" not in text  # no runs: one line
    footer = notes(2, cells)
    for part in (
        "2 seeds, 6 seeds",
        "20 episodes each",
        "simulator 1.0",
        "protocol=paper",
        "Student's t",
        "2604.08174",
    ):
        assert part in footer
    assert "94 of 96 cells lack 562 runs" in footer and "fit -m +sweep=table2" in footer


def test_the_csv_has_the_command_of_every_cell_that_lacks_seeds(table2):
    cells, _ = table2
    rows = list(csv.DictReader(paper_csv(2, cells, Scale()).splitlines()))
    assert len(rows) == 96
    stored = stored_rows()
    for row in rows:
        scenario, dataset = row["dataset"].rsplit(" ", 1)
        mean, std = stored["Table 2", "mamujoco", scenario, dataset, row["column"]]
        assert (float(row["paper_mean"]), float(row["paper_std"])) == (float(mean), float(std))
    found = {(row["experiment"], row["algorithm"]): row for row in rows}
    full, some, none = (found[key] for key in ((MEDIUM, "vgm2p"), (EXPERT, "vgm2p"), (EXPERT, "omar")))
    assert full["command"] == "" and full["seeds"] == "6" and full["episodes"] == "120"
    assert float(full["difference"]) == pytest.approx(1034.5 - float(full["paper_mean"]))
    assert some["command"].endswith(f"fit -m experiment={EXPERT} algo=vgm2p seed=2,3,4,5")
    assert none["command"].endswith(f"fit -m experiment={EXPERT} algo=omar seed=0,1,2,3,4,5")
    assert none["mean"] == none["difference_low"] == none["seeds"] == ""


def test_normalised_scores_have_the_ends_that_the_runs_have_measured(table2):
    cells, _ = table2
    scale = normalised([run for each in cells for run in each.runs])
    rows = list(csv.DictReader(paper_csv(2, cells, scale).splitlines()))
    row = next(row for row in rows if (row["experiment"], row["algorithm"]) == (MEDIUM, "vgm2p"))
    span = 140.0 - -1.0  # the dataset's mean and the random policy of these folders
    assert float(row["mean"]) == pytest.approx(100 * (1034.5 + 1) / span, rel=1e-5)
    raw = next(c for c in published(2) if (c.experiment, c.algorithm) == (MEDIUM, "vgm2p"))
    assert float(row["paper_mean"]) == pytest.approx(100 * (raw.mean + 1) / span, rel=1e-5)
    assert float(row["paper_std"]) == pytest.approx(100 * raw.std / span, rel=1e-5)
    assert "normalised scores" in paper_table(2, cells, scale)
    assert all(row["paper_mean"] == "" for row in rows if row["experiment"] == "mamujoco_2ant_expert")


def test_aggregates_equal_slow_references():
    source = random.Random(3)
    first = {task: [source.gauss(50, 10) for _ in range(6)] for task in "abc"}
    second = {task: [source.gauss(45, 10) for _ in range(5)] for task in "bcd"}
    middle = pooled_iqm(first)
    assert middle[0] == pytest.approx(iqm([x for scores in first.values() for x in scores]))
    assert middle[1] < middle[0] < middle[2]
    pairs = {task: [(x > y) + (x == y) / 2 for x in first[task] for y in second[task]] for task in "bc"}
    chance = improvement(first, second)
    assert chance[0] == pytest.approx(fmean(fmean(each) for each in pairs.values()))
    drawn = []
    for _ in range(4000):
        parts = []
        for task in "bc":
            mine = [source.choice(first[task]) for _ in first[task]]
            other = [source.choice(second[task]) for _ in second[task]]
            parts.append(fmean((x > y) + (x == y) / 2 for x in mine for y in other))
        drawn.append(fmean(parts))
    assert chance[1:] == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=0.03)
    assert improvement({"a": [1.0]}, {"a": [1.0]})[0] == 0.5
    assert all(map(math.isnan, pooled_iqm({"a": [1.0], "b": [2.0]})[1:]))


def test_the_command_reads_the_folder_runs_and_writes_both_files(runs, tmp_path):
    (tmp_path / "runs").mkdir()
    for experiment in (MEDIUM, EXPERT):
        for algorithm in ("vgm2p", "ma_td3bc"):
            source = runs / "a" / experiment / algorithm
            if source.exists():
                target = tmp_path / "runs" / experiment / algorithm
                target.mkdir(parents=True)
                (target / "s0x6-00000000").symlink_to(source)
    done = succeeded(program(tmp_path, "report", "table=2", "iqm=true", "improvement=true", "versus=ma_td3bc"))
    assert "| 3hopper Medium difference" in done.stdout
    assert (tmp_path / "report" / "table2.md").read_text().strip() in done.stdout
    assert len((tmp_path / "report" / "table2.csv").read_text().splitlines()) == 97
    assert row_cells(done.stdout, "vgm2p ")[1:3] == ["2", "8"] and row_cells(done.stdout, "vgm2p ")[4].startswith(
        "1.00"
    )
    empty = succeeded(program(tmp_path, "report", "table=1"))
    assert "150 of 150 cells lack 900 runs" in empty.stdout and "16.0 ± 1.0" in empty.stdout


def test_methods_of_a_dataset_have_one_scale_and_seeds_that_diverged_are_marked(runs, tmp_path):
    place = tmp_path / MEDIUM
    for method, changes in (
        ("vgm2p", {"diverged_seeds": [2]}),
        ("ma_td3bc", {"random_return_mean": -900.0, "random_return_ci95": [-950, -850]}),
    ):
        shutil.copytree(runs / "a" / MEDIUM / method, place / method)
        folder = RunFolder(place / method)
        write_json(folder.results, folder.read_results() | changes)
    loaded, _ = load_runs([place / "vgm2p", place / "ma_td3bc"])
    scores = {method: found[MEDIUM] for method, found in seed_scores(loaded).items()}
    for method, first in (("vgm2p", 1000.0), ("ma_td3bc", 500.0)):  # of the first run: -1 is 0, 140 is 100
        expected = [100 * (first + 10 * seed + 9.5 + 1) / 141 for seed in range(6)]
        assert scores[method] == pytest.approx(expected)
    text = aggregate_text(loaded, with_iqm=True, base="ma_td3bc")
    assert row_cells(text, "vgm2p ")[-2].endswith("x") and row_cells(text, "vgm2p ")[-1] == "1.00 [1.00, 1.00]x"
    assert not row_cells(text, "ma_td3bc ")[-2].endswith("x") and "x a seed diverged" in text
    assert row_cells(versus(loaded, "vgm2p"), MEDIUM)[-1].endswith("]x")
    cells, _ = cells_of(2, loaded)
    (line,) = [row for row in csv.DictReader(paper_csv(2, cells, Scale()).splitlines()) if row["diverged"] == "1"]
    assert (line["experiment"], line["algorithm"]) == (MEDIUM, "vgm2p")


def test_the_method_to_compare_with_is_found_by_its_algorithm_or_refused(runs, tmp_path):
    loaded, _ = load_runs([runs / "a" / MEDIUM / "vgm2p", runs / "a" / MEDIUM / "ma_td3bc"])
    centralised = [replace(loaded[1], name="ma_td3bc (centralised)"), loaded[0]]
    assert row_cells(aggregate_text(centralised, with_iqm=False, base="ma_td3bc"), "vgm2p ")[-1].startswith("1.00")
    variants = [*centralised, replace(loaded[1], name="ma_td3bc alpha=1")]
    for runs_, name, said in ((variants, "ma_td3bc", "several methods are"), (loaded, "vgm2", "no method here is")):
        with pytest.raises(ConfigError, match=said) as error:
            aggregate_text(runs_, with_iqm=False, base=name)
        assert len(error.value.line) < 200
    done = program(tmp_path, "report", "table=2", str(runs / "a" / MEDIUM / "vgm2p"), "improvement=true")
    assert done.returncode != 0 and done.stderr.count("\n") == 1 and "'bc_meanflow'" in done.stderr
    assert not (tmp_path / "report").exists()


def test_runs_with_a_label_count_and_algorithms_without_a_column_are_named(tmp_path):
    outcome = lambda way, seed, episode: (1000.0 + seed, "")  # noqa: E731
    row = Row("mine", ("algo=vgm2p", "label=mine"), 1, ())
    write_run(tmp_path, MEDIUM, row, [1.0], outcome, seeds=2, updates=500_000)
    write_run(tmp_path, MEDIUM, Row("bc_meanflow", ("algo=bc_meanflow",), 1, ()), [1.0], outcome)
    loaded, _ = load_runs([tmp_path / MEDIUM / "mine", tmp_path / MEDIUM / "bc_meanflow"])
    cells, lines = cells_of(2, loaded)
    assert [run.name for run in cell(cells, MEDIUM, "vgm2p").runs] == ["vgm2p"]
    assert lines == ["not in table 2: runs of the algorithms bc_meanflow"]
