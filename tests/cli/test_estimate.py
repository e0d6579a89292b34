"""`vgm2p estimate` on real runs: what it prints, writes, repeats, ranks and refuses; the validation beside it."""

import errno
import json
import os
import shutil

import numpy as np
import pytest

from tests.cli.answers import TINY, answer
from tests.run.runs import program
from tests.support import small_columns
from tools.estimate_validation import main as validate
from vgm2p.cli import main
from vgm2p.commands.progress import Progress
from vgm2p.datamodules.layout.episodes import returns_of
from vgm2p.datamodules.layout.writing import write
from vgm2p.errors import Interrupted
from vgm2p.run.folder import RunFolder, write_json
from vgm2p.signals import StopFlag
from vgm2p.sweeps.objective import return_of

FEW = ["updates=4", "batch=8", "critics=2", "draws=1", "net.width=8", "net.depth=1", "share=0.04"]
CHOSEN = ["data.best_share=0.1", "data.sampling=return", "data.ess=0.5"]  # data of training, not of estimates


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Three small runs without evaluation; the first two are the same."""
    folder = tmp_path_factory.mktemp("runs")
    for name, words in (("a", ["algo=bc_gaussian", "seeds=2"]), ("c", ["algo=bc_flow", *CHOSEN])):
        assert answer(["fit", *TINY, *words, f"out={folder / name}"]) == (0, "")
    shutil.copytree(folder / "a", folder / "b")
    return folder


def simulated(folder, returns):
    """Give a run results of a simulator."""
    run = RunFolder(folder)
    way = run.read_manifest()["config"]["algo"].get("acting", {}).get("noise")
    entry = {"act_noise": way, "per_seed": returns}
    write_json(run.results, run.read_results() | {"by_act_noise": [entry]})


def test_an_estimate_is_printed_and_written_beside_the_run_and_not_made_twice(runs, tmp_path):
    run = shutil.copytree(runs / "a", tmp_path / "a")
    (run / "results.json").unlink()  # no simulator: no reason to complain
    done = program(tmp_path, "estimate", "run=a", *FEW)
    assert done.returncode == 0, done.stderr
    rows = [[cell.strip() for cell in line.split("|")] for line in done.stdout.splitlines() if line.startswith("| ")]
    assert [row[1:3] for row in rows[1:4]] == [["a", "0"], ["a", "1"], ["a", "all"]]
    assert [row[1] for row in rows[4:]] == ["data: the same 2 episodes", "data: all 50 episodes"]
    assert rows[5][5].startswith("961 [")
    assert "update 4/4" in done.stdout and "step 1001/1001" in done.stdout and "left 0:00:00" in done.stdout
    assert "written to   a/estimate.json" in done.stdout
    content = json.loads((run / "estimate.json").read_text())
    (entry,) = content["by_act_noise"]
    assert np.shape(entry["table"]) == (2, 2, 2)
    assert entry["value"] == pytest.approx(np.mean(entry["table"]))
    assert entry["return"] == pytest.approx(content["factor"] * entry["value"])
    before = (run / "estimate.json").read_bytes()
    again = program(tmp_path, "estimate", "a", *FEW)
    assert "found before a/estimate.json" in again.stdout and "update 4/4" not in again.stdout
    assert again.stdout.split("\n\n")[1:] == done.stdout.split("\n\n")[1:]
    assert (run / "estimate.json").read_bytes() == before
    (run / "estimate.json").write_text("{")
    assert program(tmp_path, "estimate", "a", *FEW).returncode == 0
    assert (run / "estimate.json").read_bytes() == before
    other = program(tmp_path, "estimate", "run=a", "data=bundled_6halfcheetah", "seed=3", *FEW)
    assert other.returncode == 0, other.stderr
    assert len(list(run.glob("estimate-????????.json"))) == 1
    assert (run / "estimate.json").read_bytes() == before
    for reading in ("data.timeouts=terminal", "data.obs_norm=none"):
        asked = program(tmp_path, "estimate", "run=a", "data=bundled_6halfcheetah", reading, "seed=3", *FEW)
        assert asked.returncode == 0 and "found before" not in asked.stdout, asked.stdout + asked.stderr


def test_runs_are_ranked_equal_ones_as_ties_and_compared_with_the_simulator(runs, tmp_path, capsys):
    for name, returns in (("a", [10.0, 12.0]), ("b", [10.0, 12.0]), ("c", [500.0])):
        shutil.copytree(runs / name, tmp_path / name)
        simulated(tmp_path / name, returns)
    done = program(tmp_path, "estimate", "a", "b", "c", "out=order.json", *FEW)
    assert done.returncode == 0, done.stderr
    assert "rank correlation with the simulator: " in done.stdout
    found = json.loads((tmp_path / "order.json").read_text())
    entries = {entry["policy"]: entry for entry in found["ranking"]}
    assert entries["a"]["value"] == entries["b"]["value"]
    assert [entry["chance_of_best"] for entry in found["ranking"]] == [None] * 3  # a fit of four updates still moves
    assert "the order may change, and has no chances: values still move" in done.stdout
    assert entries["c"]["measured_return"] == 500.0
    assert found["simulator"]["policies"] == 3
    capsys.readouterr()
    assert validate([*(str(tmp_path / name) for name in "abc"), "--out", str(tmp_path / "valid")]) == 0
    assert "5 " in capsys.readouterr().out
    (group,) = json.loads((tmp_path / "valid.json").read_text())["datasets"]
    assert (group["policies"], group["runs"], len(group["points"])) == (5, 3, 5)
    assert -1.0 <= group["ci95"][0] <= group["rank_correlation"] <= group["ci95"][1] <= 1.0
    assert group["regret"] in (0.0, 488.0, 490.0)
    assert "rank correlation" in (tmp_path / "valid.md").read_text()


def test_ways_to_act_are_ranked_too(runs, tmp_path):
    shutil.copytree(runs / "c", tmp_path / "c")
    done = program(tmp_path, "estimate", "run=c", "act_noise=[1,0,shared]", *FEW)
    assert done.returncode == 0, done.stderr
    for name in ("c (act_noise 1)", "c (act_noise 0)", "c (shared noise)"):
        assert f"| {name} " in done.stdout
    more = program(tmp_path, "estimate", "run=c", "act_noise=[0,0.5]", *FEW)  # 0 is known
    assert more.stdout.count("update 4/4") == 1
    kept = json.loads((tmp_path / "c" / "estimate.json").read_text())["by_act_noise"]
    assert [entry["act_noise"] for entry in kept] == [1.0, 0.0, "shared", 0.5]


def test_the_validation_leaves_out_what_has_no_estimate_and_says_so(runs, capsys):
    assert validate([str(runs / "c")]) == 66
    assert "left out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ([], 2, "estimate needs run=<run folder> or runs=[<run folder>,...]"),
        (["run={a}", "runs=[{b}]"], 2, "not both"),
        (["run=/nowhere"], 66, "/nowhere: no such run folder"),
        (["run={a}", "share=0"], 2, "share must be above 0 and below 1"),
        (["run={a}", "share=1"], 2, "share must be above 0 and below 1"),
        (["run={a}", "gamma=1"], 2, "gamma must be below 1"),
        (["run={a}", "tau=0"], 2, "tau must be above 0"),
        (["run={a}", "critics=0"], 2, "critics must be a whole number from 1"),
        (["run={a}", "updates=1"], 2, "updates must be a whole number from 2"),
        (["run={a}", "updats=3"], 2, "did you mean 'updates'"),
        (["run={a}", "act_noise=1"], 2, "does not start from noise"),
        (["run={c}", "act_noise=loud"], 2, "act_noise takes scales of the start noise"),
        (["run={a}", "out=x.json"], 2, "out= is for a ranking"),
        (["run={a}", "device=cuda"], 2, "device=cuda is not usable here"),
        (["run={a}", "data=nosuch"], 2, "unknown data 'nosuch'"),
        (
            ["run={a}", "data=bundled_6halfcheetah", "data.view=omiga"],
            2,
            "was trained for another task than data=: view",
        ),
        (["run={a}", "data=recorded_3hopper_medium", "data.root=/nowhere"], 66, "data= names the data"),
    ],
)
def test_wrong_words_are_one_line(words, code, says, runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    places = {name: runs / name for name in "abc"}
    found, text = answer(["estimate", *(word.format(**places) for word in words)])
    assert found == code, text
    assert text.count("\n") == 1 and says in text, text


def test_runs_on_different_data_are_not_ranked_unless_the_data_are_named(runs, tmp_path):
    other = shutil.copytree(runs / "c", tmp_path / "other")
    (file,) = (other / "checkpoints").glob("*.ckpt")
    import torch

    content = torch.load(file, weights_only=True)
    content["vgm2p"]["config"]["data"]["timeouts"] = "terminal"
    torch.save(content, file)
    file.with_name(file.name + ".sha256").unlink()
    code, text = answer(["estimate", str(runs / "a"), str(other), *FEW])
    assert code == 2 and "were trained on different data" in text


def test_progress_says_how_fast_it_is_and_a_signal_ends_it():
    now, lines, stop = [0.0], [], StopFlag()
    progress = Progress("a", stop, "the same command goes on", lambda: now[0], lines.append)
    progress("step", 0, 10)
    now[0] = 20.0
    progress("step", 5, 10)
    progress("update", 0, 100)
    now[0] = 40.0
    progress("update", 20, 100)
    progress("update", 21, 100)
    assert lines == ["a  step 5/10  0.2 steps/s  left 0:00:20", "a  update 20/100  1.0 updates/s  left 0:01:20"]
    stop.signum = 2
    with pytest.raises(Interrupted, match="the same command goes on"):
        progress("update", 22, 100)


def test_an_estimate_is_printed_where_it_cannot_be_kept(runs, tmp_path, monkeypatch):
    run = shutil.copytree(runs / "a", tmp_path / "a")
    (run / ".estimate.json.lock").symlink_to("/nowhere")  # nobody holds this lock, and it cannot be written
    code, text = answer(["estimate", f"run={run}", *FEW])
    assert code == 74 and "is a link" in text
    (run / ".estimate.json.lock").unlink()
    real = os.open

    def read_only(name, flags, *more, **named):
        if str(name).endswith(".lock") and flags & os.O_CREAT:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), name)
        return real(name, flags, *more, **named)

    monkeypatch.setattr(os, "open", read_only)
    assert main(["estimate", f"run={run}", *FEW]) == 0
    assert not (run / "estimate.json").exists()


def test_other_data_under_the_same_name_are_refused(tmp_path):
    columns = small_columns(2, [6] * 12)
    write(tmp_path / "x.h5", columns)
    words = ["data=files", f"data.source.paths=[{tmp_path / 'x.h5'}]", f"out={tmp_path / 'run'}"]
    assert answer(["fit", *TINY, "algo=bc_mse", *words]) == (0, "")
    assert answer(["estimate", f"run={tmp_path / 'run'}", *FEW, "share=0.2"]) == (0, "")
    columns.steps["rewards"] += 100.0 * columns.steps["has_action"]
    columns.episodes["return"] = returns_of(columns.steps["rewards"], columns.episodes["start"])
    (tmp_path / "x.h5").unlink()
    write(tmp_path / "x.h5", columns)
    for more in ([], ["propose=true"]):
        few = [] if more else [*FEW, "share=0.2"]
        code, text = answer(["estimate", f"run={tmp_path / 'run'}", *few, *more])
        assert code == 65 and "was trained on data" in text and text.count("\n") == 1


def test_a_search_reads_the_estimate_that_it_asked_for(runs, tmp_path):
    run = shutil.copytree(runs / "c", tmp_path / "c")
    own = return_of(run, "estimate", FEW, StopFlag())
    quiet = return_of(run, "estimate", [*FEW, "act_noise=0"], StopFlag())
    entries = json.loads((run / "estimate.json").read_text())["by_act_noise"]
    made = {entry["act_noise"]: entry["return"] for entry in entries}
    assert own != quiet and made == {1.0: pytest.approx(own), 0.0: pytest.approx(quiet)}
    (run / "estimate.json").unlink()
    assert return_of(run, "estimate", [*FEW, "data=bundled_6halfcheetah"], StopFlag()) == own
