"""A real Slurm cluster of one node (`make test-slurm`): cells as jobs, preemption, time limits, failures, signals."""

import json
import re
import signal
import time

import pytest

from tests.clusters.eight import Sweep, block, blocked, differing, on_one_machine, table
from tests.clusters.slurm import cluster, missing

pytestmark = [pytest.mark.slow, pytest.mark.skipif(missing() is not None, reason=str(missing()))]
SLURM = ["hydra/launcher=submitit_slurm", "hydra.launcher.cpus_per_task=1"]


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    place = tmp_path_factory.mktemp("one") / "work"
    return place, *on_one_machine(place)


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    pytest.importorskip("submitit")
    with cluster(tmp_path_factory.mktemp("slurm")) as running:
        yield running


@pytest.fixture
def place(tmp_path):
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def preempt(slurm, cpus):
    """Submit a short job that needs CPUs of jobs in the partition `low`, and wait until it has run."""
    said = slurm.tell("sbatch", "--partition=high", f"--cpus-per-task={cpus}", "--output=/dev/null", "--wrap=sleep 5")
    number = re.search(r"\d+", said)[0]
    while number in slurm.jobs():
        time.sleep(1)


def test_eight_cells_of_which_two_are_preempted_and_one_fails(one, slurm, place):
    machine, folders, text = one
    block(place, blocked(machine))
    sweep = Sweep(place, *SLURM, **slurm.variables)
    with sweep.held(4):
        preempt(slurm, 2)
    printed = sweep.ended()
    assert sweep.process.returncode == 2, printed
    assert differing(folders, place) == {}
    assert table(printed) == text
    logs = "".join(path.read_text() for path in place.glob(".submitit/*/*log.*"))
    assert logs.count("Requeued job") == 2, logs
    assert logs.count("state saved; the same command continues from there") == 2, logs
    again = Sweep(place, *SLURM, **slurm.variables)
    assert again.ended().count("already finished: ") == 7


def test_a_cell_gets_the_cpus_that_it_was_given(slurm, place):
    words = ["seed=0", "optim.lr=0.001", "updates=5", "eval_every=5", "evaluate=none", "trainer.threads=auto"]
    sweep = Sweep(place, *words, *SLURM[:1], "hydra.launcher.cpus_per_task=2", **slurm.variables, OMP_NUM_THREADS="")
    printed = sweep.ended()
    assert sweep.process.returncode == 0, printed
    (manifest,) = place.glob("runs/*/*/*/manifest.json")
    assert json.loads(manifest.read_text())["threads"] == 2


def test_a_cell_that_reaches_its_time_limit_is_queued_again_and_ends_with_the_same_bits(one, slurm, place):
    _, folders, _ = one
    words = ["seed=0", "optim.lr=0.001", "hydra.launcher.timeout_min=10"]  # submitit takes each end as that limit
    sweep = Sweep(place, *words, *SLURM, **slurm.variables)
    with sweep.held(1):
        (job,) = slurm.jobs()
        slurm.tell("scancel", "--signal=USR2", job)  # as Slurm sends it before the limit
    printed = sweep.ended()
    assert sweep.process.returncode == 0, printed
    (results,) = place.glob("runs/*/*/*/results.json")
    assert differing({results.parent.name: folders[results.parent.name]}, place) == {}
    logs = "".join(path.read_text() for path in place.glob(".submitit/*/*log.*"))
    assert logs.count("state saved") == logs.count("Requeued job") == 1


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_the_command(slurm, place, signum):
    """Ctrl-C ends the jobs, which save their state. A lost terminal does not."""
    words = ["seed=0,1", "optim.lr=0.001", "updates=1000000", "evaluate=none"]
    sweep = Sweep(place, *words, *SLURM, **slurm.variables)
    sweep.wait_for(2)
    sweep.process.send_signal(signum)
    printed = sweep.ended()
    assert sweep.process.returncode == 128 + signum, printed
    left = slurm.jobs()
    if signum == signal.SIGHUP:
        assert len(left) == 2 and "its jobs go on; `scancel" in printed
        slurm.tell("scancel", *left)
        return
    assert left == {} and "0 of 2 cells are finished; the same command continues" in printed
    logs = [path.read_text() for path in place.glob(".submitit/*/*log.err")]
    assert all("state saved" in log for log in logs) and len(logs) == 2


def test_a_job_that_is_killed_is_told_and_does_not_stop_the_others(slurm, place):
    words = ["seed=0,1", "optim.lr=0.001", "updates=3000", "evaluate=none"]
    sweep = Sweep(place, *words, *SLURM, **slurm.variables)
    with sweep.held(2) as cells:
        cells[0].kill()  # as a node without memory does; `scancel --signal=KILL` begins with SIGTERM
    printed = sweep.ended()
    assert sweep.process.returncode == 69, printed
    assert "1 failed:" in printed and "was ended without an answer" in printed
    assert len(list(place.glob("runs/*/*/*/results.json"))) == 1


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("hydra.launcher.partition=nosuch", "invalid partition"),
        ("hydra.launcher.cpus_per_task=400", "More processors requested than permitted"),
    ],
)
def test_what_slurm_refuses_is_one_line(slurm, place, word, says):
    sweep = Sweep(place, "seed=0,1", "updates=5", *SLURM, word, **slurm.variables)
    printed = sweep.ended()
    last = printed.strip().splitlines()[-1]
    assert sweep.process.returncode == 2 and last.startswith("vgm2p: hydra.launcher: ") and says in last, printed
