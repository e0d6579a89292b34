"""The end of a run: what a kill left undone is made up, and a finished run is shown where nothing can be written."""

import json
import shutil

import pytest

from tests.cases.trusted import files, refused
from tests.run.runs import SMALL, differences, program, results, run, succeeded, words
from vgm2p.report.runs import load_runs
from vgm2p.report.variants import name_variants
from vgm2p.run.folder import RunFolder, link_last, write_json

DRAWN = {**SMALL, "callbacks__plot": None, "logger.tensorboard": None}
KILLED = """
import os, signal
from vgm2p.callbacks.plots import LearningCurve
LearningCurve.on_results = lambda self, results: os.kill(os.getpid(), signal.SIGKILL)
"""
# like a file system that is mounted read-only: no call can change anything below FOLDER
READ_ONLY = """
import errno, os, sys
def refuse(event, args):
    if event == "open":
        changes = args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    else:
        changes = event in ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.link", "os.truncate")
    if not changes:
        return
    for path in args[:2]:
        if isinstance(path, (str, os.PathLike)) and os.path.abspath(path).startswith(FOLDER):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), os.fspath(path))
sys.addaudithook(refuse)
"""


def read_only(folder):
    return f"FOLDER = {str(folder)!r}" + READ_ONLY


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """A finished run with its plot and TensorBoard events."""
    out = tmp_path_factory.mktemp("runs") / "drawn"
    succeeded(run(out, **DRAWN))
    return out


def scalars(out):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    return {tag: [(each.step, each.value) for each in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_a_kill_between_results_and_plot_is_made_up(drawn, tmp_path):
    out = tmp_path / "run"
    assert run(out, KILLED, **DRAWN).returncode == -9
    assert (out / "results.json").exists() and not (out / "plots" / "learning.png").exists()
    left = out / "plots" / ".learning.png.0123abcd.tmp"
    left.parent.mkdir(exist_ok=True)
    left.touch()
    done = succeeded(run(out, **DRAWN))
    assert not left.exists()
    assert "already finished" in done.stdout and "they are made up" in done.stdout
    picture = out / "plots" / "learning.png"
    assert picture.read_bytes() == (drawn / "plots" / "learning.png").read_bytes()
    assert differences(drawn, out) == []
    assert scalars(out)["evaluation/return"] == scalars(drawn)["evaluation/return"]
    assert "made up" not in succeeded(run(out, **DRAWN)).stdout


def test_a_finished_run_is_shown_on_a_read_only_disk(drawn, tmp_path):
    out = shutil.copytree(drawn, tmp_path / "run")
    (out / "timing.json").unlink()  # as if its plot were missing
    before = files(out)
    done = succeeded(run(out, read_only(tmp_path), **DRAWN))
    assert done.stdout.count("cannot be written: the result is shown, and nothing else is done") == 1
    assert f"run folder       {out}" in done.stdout and "| dataset mean" in done.stdout
    assert files(out) == before


def test_a_finished_run_shows_its_comparison_runs_on_a_read_only_disk(drawn, tmp_path):
    out, other = (shutil.copytree(drawn, tmp_path / name) for name in ("run", "other"))
    write_json(RunFolder(other).results, results(other) | {"algorithm": "omar"})
    write_json(out / "compare-omar.json", {"folder": str(other)})
    done = succeeded(run(out, read_only(tmp_path), **DRAWN | {"compare": "[omar]"}))
    assert "| omar " in done.stdout


def test_an_unfinished_run_on_a_read_only_disk_is_one_line(drawn, tmp_path):
    out = shutil.copytree(drawn, tmp_path / "run")
    done = run(out, read_only(tmp_path), **DRAWN | {"updates": 30})
    assert done.returncode == 74 and done.stderr.count("\n") == 1
    assert "cannot be written (Read-only file system); choose another out=" in done.stderr


@pytest.mark.parametrize("kind", ["folder", "file", "other link"])
def test_runs_last_of_the_user_stays(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    folder, last = tmp_path / "runs" / "x", tmp_path / "runs" / "last"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    said = []
    if kind == "folder":
        last.mkdir()
        (last / "mine").write_text("mine")
    elif kind == "file":
        last.write_text("mine")
    else:
        last.symlink_to(tmp_path)  # a link is ours to move
    before = files(tmp_path)
    link_last(folder, said.append)
    assert files(tmp_path) == before if kind != "other link" else last.resolve() == folder
    assert said == (
        [] if kind == "other link" else ["runs/last is no link, and stays as it is: it does not point to this run"]
    )


def test_a_run_goes_on_beside_a_folder_runs_last(tmp_path):
    (tmp_path / "runs" / "last").mkdir(parents=True)
    done = program(tmp_path, *words("runs/x", updates=4, evaluate="none"))
    assert done.returncode == 0, done.stderr
    assert "runs/last is no link, and stays as it is" in done.stdout
    assert (tmp_path / "runs" / "x" / "results.json").exists()


def test_left_overs_of_killed_commands_go(drawn, tmp_path):
    out, places = shutil.copytree(drawn, tmp_path / "run"), [tmp_path / name for name in ("report", "again", "runs")]
    for folder, name in zip(places, ("table.md", "results.json", "last"), strict=True):
        folder.mkdir()
        (folder / f".{name}.0123abcd.tmp").symlink_to("nowhere")
        (folder / ".precious.tmp").touch()
    succeeded(program(tmp_path, "report", str(out), "out=report"))
    succeeded(program(tmp_path, "evaluate", f"run={out}", "episodes=1", "act_noise=[1]", "out=again"))
    out.rename(tmp_path / "runs" / "x")
    link_last(tmp_path / "runs" / "x", print, tmp_path / "runs")
    assert [path.name for folder in places for path in folder.glob(".*.tmp")] == [".precious.tmp"] * 3


def replaced(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def with_entry(name, value):
    def change(folder):
        content = folder.read_results()
        assert name in content
        folder.results.write_text(json.dumps(content | {name: value}))

    return change


def with_return(text):
    def change(folder):
        lines = folder.episodes.read_text().splitlines()
        cells = lines[-1].split(",")
        cells[lines[0].split(",").index("return")] = text
        folder.episodes.write_text("\n".join([*lines[:-1], ",".join(cells)]) + "\n")

    return change


ODD = {
    "return NaN": with_entry("return_mean", float("nan")),
    "return false": with_entry("return_mean", False),
    "return text": with_entry("return_mean", "7"),
    "return that no float can hold": with_entry("return_mean", 10**400),
    "divergence of a table": with_entry("diverged", {"a": 1}),
    "divergence of numbers": with_entry("diverged", [1]),
    "no list of ways": with_entry("by_act_noise", 3),
    "ways of text": with_entry("by_act_noise", ["x"]),
    "seeds of text": with_entry("seeds", ["a"]),
    "updates of text": with_entry("updates", "10"),
    "an interval of one": with_entry("dataset_return_ci95", [1.0]),
    "an episode's return NaN": with_return("nan"),
    "an episode's return false": with_return("False"),
    "an episode's return text": with_return("much"),
    "a changed episode": with_return("1.5"),
    "a folder for results": lambda f: (f.results.unlink(), f.results.mkdir()),
    "results of bytes": lambda f: f.results.write_bytes(b"\xff\xfe"),
    "a manifest of text": lambda f: f.manifest.write_text('"x"'),
    "a task of numbers": lambda f: write_json(f.manifest, f.read_manifest() | {"environment_versions": {"mujoco": 3}}),
    "data of text": lambda f: write_json(f.manifest, f.read_manifest() | {"config": {"data": "x"}}),
    "episodes that are no text": lambda f: f.episodes.write_bytes(b"\x00\xff\n" * 3),
    "a cell of a megabyte": lambda f: replaced(f.episodes, "\n", "\n" + "9" * 1_000_000),
    "episodes without a header": lambda f: replaced(f.episodes, "update,seed", "a,b"),
    "a folder for episodes": lambda f: (f.episodes.unlink(), f.episodes.mkdir()),
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_an_odd_folder_is_named_and_left_out_of_a_report(drawn, tmp_path, odd):
    damaged = shutil.copytree(drawn, tmp_path / "damaged")
    odd(RunFolder(damaged))
    runs, notices = load_runs([damaged, drawn])
    assert [run.folder for run in runs] == [drawn]
    (line,) = notices
    assert line.startswith("left out: ") and f"/{damaged.name}" in line  # a long path loses its first folders


def test_a_manifest_without_settings_is_reported(drawn, tmp_path):
    """The table shows results; settings only tell variants apart."""
    bare = shutil.copytree(drawn, tmp_path / "bare")
    write_json(RunFolder(bare).manifest, {"config": {}})
    runs, _ = load_runs([bare, drawn])
    assert [run.folder for run in name_variants(runs)[0]] == [bare, drawn]


def test_a_report_tells_changed_diagnostics(drawn, tmp_path):
    damaged = shutil.copytree(drawn, tmp_path / "damaged")
    (damaged / "metrics.csv").unlink()
    runs, notices = load_runs([damaged])
    assert len(runs) == 1
    assert notices == [f"warning: {damaged / 'metrics.csv'} is not as it was when the run ended; do not trust it"]


def test_a_damaged_divergence_ends_a_finished_run_in_one_line(drawn, tmp_path):
    out = shutil.copytree(drawn, tmp_path / "run")
    with_entry("diverged", {"a": 1})(RunFolder(out))
    refused(run(out, **DRAWN), "results.json: 'diverged' is damaged; restore it")


def test_results_that_are_no_json_end_a_finished_run_in_one_line(drawn, tmp_path):
    out = shutil.copytree(drawn, tmp_path / "run")
    (out / "results.json").write_text('{"updates": 20')
    refused(run(out, **DRAWN), "results.json", "damaged")
