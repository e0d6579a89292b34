"""`vgm2p report` shows what `vgm2p evaluate` has stored, says so, and mixes nothing."""

import json
import shutil

import pytest

from tests.report.finished_runs import cells_of, sign
from tests.run.runs import program, succeeded
from vgm2p.report.evaluations import with_evaluations
from vgm2p.report.runs import load_run
from vgm2p.report.tables import as_csv
from vgm2p.report.variants import name_variants
from vgm2p.run.csv_log import CsvLog
from vgm2p.run.folder import RunFolder, read_json, write_json


@pytest.fixture(scope="module")
def evaluated(trained, tmp_path_factory):
    """A run of one episode, evaluated twice: with three episodes in all ways, with four in one way."""
    folder = tmp_path_factory.mktemp("evaluated") / "plus"
    shutil.copytree(trained / "vgm2p_chosen", folder)
    for words in (["episodes=3"], ["episodes=4", "act_noise=0.5"], ["episodes=1"]):
        succeeded(program(folder.parent, "evaluate", "run=plus", *words))
    return folder


@pytest.fixture
def copied(evaluated, tmp_path):
    return shutil.copytree(evaluated, tmp_path / "plus")


def stored(folder, name):
    return folder / "evaluations" / name


def shown(folder):
    """Return what a report takes from a run folder, as in the command."""
    return with_evaluations([load_run(folder)])


def test_the_evaluation_with_the_most_episodes_is_shown_in_each_way(evaluated, tmp_path):
    done = succeeded(program(tmp_path, "report", str(evaluated), "html=page.html"))
    assert "update-20-n4-0.5: 4 episodes per seed" in (tmp_path / "page.html").read_text()
    taken = [line for line in done.stdout.splitlines() if line.startswith("taken: ")]
    assert taken == [
        f"taken: {evaluated}/evaluations/update-20-n4-0.5: 4 episodes per seed in place of 1 (act_noise 0.5)",
        f"taken: {evaluated}/evaluations/update-20-n3: 3 episodes per seed in place of 1 "
        "(act_noise 1.0, 0.25, 0.0, shared)",
    ]
    assert "different evaluations: methods or ways of quickstart have different episodes: 3 (" in done.stdout
    lines = [line.split(",") for line in (tmp_path / "report" / "table.csv").read_text().splitlines()]
    found = {line[2]: (float(line[4]), int(line[8])) for line in lines if line[1] == "vgm2p_chosen"}
    for way, name, count in ((1.0, "update-20-n3", 3), (0.5, "update-20-n4-0.5", 4), ("shared", "update-20-n3", 3)):
        entries = read_json(stored(evaluated, name) / "results.json", "")["by_act_noise"]
        mean = next(entry["return_mean"] for entry in entries if entry["act_noise"] == way)
        assert found[str(way)] == (pytest.approx(mean, rel=1e-5), count)
    own = succeeded(program(tmp_path, "report", str(evaluated), "evaluations=false"))
    assert "taken" not in own.stdout and "shared" not in own.stdout


def test_no_evaluation_replaces_one_of_other_ways(evaluated):
    names = {path.name for path in (evaluated / "evaluations").iterdir()}
    assert names == {"update-20-n3", "update-20-n4-0.5", "update-20-n1"}


def test_another_environment_has_a_table_of_its_own_without_the_datas_mean(copied):
    place = stored(copied, "update-20-n3") / "results.json"
    content = json.loads(place.read_text())
    content["env"]["episode_limit"] = 7
    write_json(place, content | {"environment": "mamujoco/other"})
    succeeded(program(copied.parent, "report", "plus", "html=page.html"))
    runs, lines = shown(copied)
    assert [run.key[0] for run in runs] == ["quickstart", "quickstart in mamujoco/other"]
    rows = [line.split(",")[:2] for line in as_csv(runs).splitlines() if "other" in line]
    assert rows and {method for _, method in rows} == {"vgm2p_chosen"}
    assert lines[1].startswith(f"taken: {place.parent}: 3 episodes per seed (act_noise")
    assert [len(values) for values in runs[0].final["return"][1.0].values()] == [1]


def test_environments_of_one_name_with_other_keys_are_not_mixed(copied):
    for name, limit in (("update-20-n3", 7), ("update-20-n4-0.5", 8)):
        place = stored(copied, name) / "results.json"
        content = json.loads(place.read_text())
        content["env"]["episode_limit"] = limit
        write_json(place, content | {"environment": "mamujoco/other"})
    runs, _ = shown(copied)
    elsewhere = [run for run in runs if run.key[0] != "quickstart"]
    played = {run.manifest["config"]["env"]["episode_limit"]: list(run.final["return"]) for run in elsewhere}
    assert played == {7: [1.0, 0.5, 0.25, 0.0, "shared"], 8: [0.5]}
    named, notices = name_variants(runs)
    assert {run.name for run in named[1:]} == {
        f"vgm2p_chosen env.episode_limit={limit}" for limit in (7, 8)
    } and not notices


def test_an_evaluation_without_episodes_is_left_out(copied):
    place = stored(copied, "update-20-n3")
    log = CsvLog(place / "episodes.csv")
    log.path.write_text(log.path.read_text().partition("\n")[0] + "\n")
    write_json(
        place / "results.json",
        json.loads((place / "results.json").read_text()) | {"by_act_noise": [], "log": log.mark()},
    )
    _, lines = shown(copied)
    assert any(line.startswith(f"left out: {place}: ") and "damaged" in line for line in lines)


def test_an_evaluation_of_other_updates_or_with_changed_files_is_left_out(copied):
    for name in ("update-20-n1", "update-20-n4-0.5"):
        shutil.rmtree(stored(copied, name))
    place = stored(copied, "update-20-n3")
    sound = (place / "results.json").read_text()
    changes = {
        "evaluates update 10, not the last one (20)": {"updates": 10},
        "evaluates update 20": {"seeds": [3]},
        "whose files are damaged": {"by_act_noise": [{"act_noise": "x"}]},
        "of an older version": None,
    }
    for said, change in changes.items():
        content = json.loads(sound)
        content = {"updates": 20, "by_act_noise": []} if change is None else content | change
        write_json(place / "results.json", content)
        runs, lines = shown(copied)
        assert len(lines) == 1 and lines[0].startswith(f"left out: {place}") and said in lines[0]
        assert runs[0].final == load_run(copied).final
    (place / "results.json").write_text(sound)
    log = CsvLog(place / "episodes.csv")
    log.path.write_text(log.path.read_text().replace("\n20,0,1,", "\n20,0,9,"))
    assert "whose files are damaged" in shown(copied)[1][0]


def test_a_single_episode_is_printed_without_an_interval(trained, tmp_path):
    done = succeeded(program(tmp_path, "evaluate", f"run={trained / 'bc_gaussian'}", "episodes=1", "out=e"))
    head, row = (cells_of(line) for line in done.stdout.splitlines() if line.startswith(("| act_noise", "| none")))
    assert row[head.index("95 % interval")] == ""
    assert read_json(tmp_path / "e" / "results.json", "")["by_act_noise"][0]["return_ci95"] == [None, None]
    assert not (RunFolder(trained / "bc_gaussian").evaluations).exists()


def test_a_run_that_was_trained_without_evaluation_is_shown_once_it_was_evaluated(copied):
    folder = RunFolder(copied)
    of_evaluation = ("return_mean", "act_noise", "by_act_noise", "random_return_mean", "random_return_ci95")
    results = {key: value for key, value in folder.read_results().items() if key not in of_evaluation}
    folder.episodes.unlink()
    write_json(folder.results, results)
    sign(folder)
    succeeded(program(copied.parent, "report", "plus", "html=page.html"))
    text = (copied.parent / "report" / "table.md").read_text()
    assert "| vgm2p_chosen" in text and "| dataset mean" in text and "<" in text and "random policy" not in text
    refused = program(copied.parent, "report", "plus", "evaluations=false")
    assert refused.returncode == 66 and "trained with evaluate=none" in refused.stdout
