"""An evaluation that is stopped, meets a full disk, or names a way to act twice."""

import csv
import resource
import signal

import pytest

from tests.cli.answers import TINY, answer
from vgm2p.envs.mujoco import MAMuJoCo
from vgm2p.run.folder import read_json


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    place = tmp_path_factory.mktemp("evaluated") / "run"
    assert answer(["fit", *TINY, "algo=bc_flow", f"out={place}"]) == (0, "")
    return place


def test_a_signal_during_a_film_ends_the_command_and_the_results_stay(run, tmp_path, monkeypatch):
    pytest.importorskip("imageio_ffmpeg")
    pytest.importorskip("PIL")
    drawn = []

    def render(self, index=0):
        drawn.append(index)
        signal.raise_signal(signal.SIGTERM)
        raise AssertionError("the signal had no effect")

    monkeypatch.setattr(MAMuJoCo, "render", render)
    out = tmp_path / "e"
    code, text = answer(["evaluate", f"run={run}", "episodes=1", "act_noise=1", "video=true", f"out={out}"])
    assert (code, text) == (143, f"vgm2p: stopped before the film was complete; the results are in {out}\n")
    assert drawn == [0]
    assert {"results.json", "episodes.csv"} <= {path.name for path in out.iterdir()}
    assert list(out.glob("*.mp4*")) == []


def test_a_signal_during_the_episodes_leaves_no_folder(run, monkeypatch):
    real, before = MAMuJoCo.step, sorted(run.rglob("*"))

    def step(self, *words):
        signal.raise_signal(signal.SIGTERM)
        return real(self, *words)

    monkeypatch.setattr(MAMuJoCo, "step", step)
    code, text = answer(["evaluate", f"run={run}", "episodes=1", "act_noise=1"])
    assert (code, text) == (143, "vgm2p: stopped in an evaluation; nothing was written\n")
    assert sorted(path for path in run.rglob("*") if path.name != "evaluations") == before


def test_an_evaluation_that_another_process_wrote_meanwhile_stays(run, tmp_path, monkeypatch):
    real, foreign = MAMuJoCo.step, '{"checkpoint": "of another policy"}'

    def step(self, *words):
        (tmp_path / "results.json").write_text(foreign)
        return real(self, *words)

    monkeypatch.setattr(MAMuJoCo, "step", step)
    code, text = answer(["evaluate", f"run={run}", "episodes=1", "act_noise=1", f"out={tmp_path}"])
    assert code == 74, text
    assert (tmp_path / "results.json").read_text() == foreign


@pytest.mark.parametrize("room", [300, 600])  # bytes: for no rows, and for the rows but not for results.json
def test_an_earlier_evaluation_stays_where_the_disk_is_full(run, tmp_path, room):
    words = ["evaluate", f"run={run}", "episodes=2", "act_noise=1", f"out={tmp_path}"]
    assert answer(words) == (0, "")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert len(before[tmp_path / "episodes.csv"]) < 600 < len(before[tmp_path / "results.json"])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        code, text = answer([*words, "episodes=8"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (code, text.count("\n")) == (74, 1) and str(tmp_path) in text
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_way_that_is_named_twice_is_played_once(run, tmp_path):
    words = ["evaluate", f"run={run}", "episodes=1", "act_noise=[0,mode,1,1.0]", f"out={tmp_path}"]
    assert answer(words) == (0, "")
    rows = list(csv.DictReader((tmp_path / "episodes.csv").open()))
    assert [row["act_noise"] for row in rows] == ["0.0", "1.0"]
    assert [entry["act_noise"] for entry in read_json(tmp_path / "results.json", "")["by_act_noise"]] == [0.0, 1.0]
