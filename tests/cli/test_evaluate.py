"""An evaluation that is stopped, meets a full disk, or names a way to act twice."""

import csv
import resource
import signal

import pytest

from tests.cli.answers import TINY, answer
from vgm2p.envs.mujoco import MAMuJoCo


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
