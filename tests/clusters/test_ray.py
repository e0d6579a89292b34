"""A real Ray cluster on this machine (`make test-ray`): cells as tasks, ended processes, failures, signals."""

import json
import os
import signal

import pytest

from tests.cli.answers import TINY, answer
from tests.clusters.eight import Sweep, block, blocked, differing, on_one_machine, table

pytest.importorskip("ray", reason="needs the extra ray")
pytestmark = pytest.mark.slow
RAY = ["hydra/launcher=ray", "hydra.launcher.total_cpus=4"]


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    place = tmp_path_factory.mktemp("one") / "work"
    return place, *on_one_machine(place)


@pytest.fixture
def place(tmp_path):
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def test_eight_cells_of_which_two_are_preempted_and_one_fails(one, place):
    machine, folders, text = one
    block(place, blocked(machine))
    sweep = Sweep(place, *RAY)
    with sweep.held(3) as cells:
        for process in cells[:2]:
            process.send_signal(signal.SIGTERM)
    printed = sweep.ended()
    assert sweep.process.returncode == 2, printed
    assert differing(folders, place) == {}
    assert table(printed) == text
    again = Sweep(place, *RAY)
    assert again.ended().count("already finished: ") == 7


def test_a_cell_whose_process_is_killed_begins_again_and_ends_with_the_same_bits(one, place):
    _, folders, _ = one
    sweep = Sweep(place, "seed=0", "optim.lr=0.001", *RAY)
    with sweep.held(1) as cells:
        for process in cells:
            process.kill()
    printed = sweep.ended()
    assert sweep.process.returncode == 0, printed
    (results,) = place.glob("runs/*/*/*/results.json")
    assert differing({results.parent.name: folders[results.parent.name]}, place) == {}


def test_a_cell_gets_the_cpus_that_it_was_given(place):
    words = ["seed=0", "optim.lr=0.001", "updates=5", "eval_every=5", "evaluate=none", "trainer.threads=auto"]
    sweep = Sweep(place, *words, *RAY, "hydra.launcher.num_cpus=2", OMP_NUM_THREADS="")
    printed = sweep.ended()
    assert sweep.process.returncode == 0, printed
    (manifest,) = place.glob("runs/*/*/*/manifest.json")
    assert json.loads(manifest.read_text())["threads"] == min(2, len(os.sched_getaffinity(0)))


def test_ctrl_c_ends_the_cells_which_save_their_state(place):
    sweep = Sweep(
        place,
        "seed=0,1,2",
        "optim.lr=0.001",
        "updates=1000000",
        "evaluate=none",
        *RAY[:1],
        "hydra.launcher.total_cpus=2",
    )
    sweep.wait_for(2)
    sweep.process.send_signal(signal.SIGINT)
    printed = sweep.ended()
    assert sweep.process.returncode == 130, printed
    assert "0 of 3 cells are finished; the same command continues" in printed
    assert len(list(place.glob("runs/*/*/*/checkpoints/*.ckpt"))) >= 2
    assert list(place.glob("runs/*/*/*/.lock")) == []


def test_what_the_cluster_does_not_have_is_one_line(place):
    sweep = Sweep(place, "seed=0,1", "updates=5", *RAY, "hydra.launcher.num_cpus=8")
    printed = sweep.ended()
    assert sweep.process.returncode == 2
    assert (
        "vgm2p: hydra.launcher.num_cpus=8: the largest machine of the cluster has 4; ask for less"
        in printed.splitlines()[-1]
    )


@pytest.mark.parametrize(
    ("word", "code", "says"),
    [
        ("hydra.launcher.num_cpus=many", 2, "hydra.launcher.num_cpus must be a number from 0, got 'many'"),
        ("hydra.launcher.max_retries=0.5", 2, "hydra.launcher.max_retries must be a whole number from 0, got 0.5"),
        ("hydra.launcher.address=127.0.0.1:9", 69, "hydra.launcher.address=127.0.0.1:9: no cluster answers there"),
    ],
)
def test_a_wrong_key_is_one_line_and_no_cluster_is_started(place, monkeypatch, word, code, says):
    monkeypatch.chdir(place)
    found, text = answer(["fit", "-m", "seed=0,1", *TINY, *RAY, word])
    assert found == code and says in text and text.count("\n") == 1, text
    assert list(place.iterdir()) == []
