"""Bit-identical resume, checked on real runs in processes of their own."""

import signal
from pathlib import Path

import pytest

from tests.run.kills import BROKEN_KEY, KINDS, SLOW_SAVE, kill_in_save, trial
from tests.run.runs import content, differences, newest, run, same_bits, start, succeeded


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "whole"
    succeeded(run(out))
    return out


@pytest.mark.parametrize("kinds", [["save", "moment"], pytest.param([*KINDS], marks=pytest.mark.slow)])
def test_kills(kinds, tmp_path):
    assert trial(kinds, 0, tmp_path) == []


def test_other_block_size_and_longer_total_train_exactly_the_missing_updates(whole, tmp_path):
    out = tmp_path / "parts"
    assert run(out, updates=25, block_updates=1).returncode == 0
    assert content(out)["vgm2p"]["updates"] == 25
    assert run(out, updates=41, block_updates=50).returncode == 0
    done = succeeded(run(out))
    assert "continuing after update 41" in done.stdout
    assert differences(whole, out) == []


def test_a_broken_key_derivation_is_noticed(whole, tmp_path):
    """Negative control: with random keys an interrupted run must differ."""
    out = tmp_path / "broken"
    kill_in_save(start(out, SLOW_SAVE + BROKEN_KEY), 3)
    assert run(out, BROKEN_KEY).returncode == 0
    assert differences(whole, out)


def test_finished_run_shows_its_result_and_changes_nothing(whole):
    before = {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()}
    done = run(whole)
    assert done.returncode == 0
    assert "already finished" in done.stdout
    assert "dataset mean" in done.stdout
    assert {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()} == before


def test_damaged_newest_checkpoint_falls_back_to_the_one_before(whole, tmp_path):
    out = tmp_path / "damaged"
    kill_in_save(start(out, SLOW_SAVE), 4)
    path = newest(out)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    done = succeeded(run(out))
    assert "skipped" in done.stdout
    assert differences(whole, out) == []


# one line for everything that begins; at the moment WHEN the run waits until a signal has come (and GO exists)
WAIT = """
import vgm2p.cli as cli, vgm2p.envs.mujoco as mujoco, vgm2p.io.files as files, vgm2p.training.module as module
import collections, os, time
begun = collections.Counter()
def begins(label):
    begun[label] += 1
    print(label, flush=True)
    if (label, begun[label]) == WHEN:
        print("WAITING", flush=True)
        while cli.STOP.signum is None:
            time.sleep(0.01)
        print("SIGNAL", flush=True)
        while not os.path.exists(GO):
            time.sleep(0.01)
def tell(where, name, label):
    real = getattr(where, name)
    def wrapped(*a, **k):
        begins(label)
        return real(*a, **k)
    setattr(where, name, wrapped)
tell(module.OfflineModule, "_draw", "UPDATE")
tell(mujoco.MAMuJoCo, "step", "STEP")
real_replace = os.replace
def replace(source, target):
    if str(target).endswith(".ckpt"):
        begins("SAVE")
    real_replace(source, target)
files.os.replace = replace
"""
# in an update; in the evaluation of update 20 (the trial before the first update takes 60 steps); inside a save
MOMENTS = [("UPDATE", 4), ("STEP", 70), ("SAVE", 1)]


def stopped_at(out, when, go="/"):
    """Return a run that waits for a signal at the moment `when`, and for the file `go`."""
    process = start(out, f"WHEN, GO = {when!r}, {str(go)!r}" + WAIT)
    read_until(process, "WAITING")
    return process


def read_until(process, word):
    for line in process.stdout:
        if line.strip() == word:
            return
    raise AssertionError(process.stderr.read())


@pytest.mark.parametrize("when", MOMENTS)
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_ends_the_run_before_another_update_or_step(whole, tmp_path, when, signum, code):
    out = tmp_path / "stopped"
    process = stopped_at(out, when)
    process.send_signal(signum)
    rest, errors = process.communicate(timeout=240)
    assert process.returncode == code, errors
    assert errors.startswith("vgm2p: stopped") and errors.count("\n") == 1
    assert not {"UPDATE", "STEP"} & set(rest.split())
    assert newest(out).exists()
    assert run(out).returncode == 0
    assert differences(whole, out) == []


def test_second_signal_does_not_disturb_the_save(whole, tmp_path):
    out, go = tmp_path / "twice", tmp_path / "go"
    process = stopped_at(out, ("SAVE", 1), go)
    process.send_signal(signal.SIGTERM)
    read_until(process, "SIGNAL")
    process.send_signal(signal.SIGINT)
    go.touch()
    process.communicate(timeout=240)
    assert process.returncode == 143
    assert run(out).returncode == 0
    assert differences(whole, out) == []


def test_lightning_trains_what_a_bare_loop_trains(whole):
    """The Trainer adds nothing: its weights are those of calling `update` 60 times (it once dropped the gradients)."""
    import torch

    from vgm2p.config.build import build_algorithm
    from vgm2p.datamodules.sources.recorded import Bundled
    from vgm2p.datamodules.store.transitions import TransitionStore
    from vgm2p.rng import UpdateKey
    from vgm2p.types import Spec

    saved = content(whole)
    config = saved["vgm2p"]["config"]
    torch.set_num_threads(1)
    store = TransitionStore.load(Bundled().resolve())
    store.cache = Path(config["data"]["cache"])  # it has the size that the run chose
    store.draw_by_return(config["data"]["ess"])
    algorithm = build_algorithm(config["algo"], Spec(**saved["vgm2p"]["spec"]), [0])
    algorithm.survey(store.survey(algorithm.gamma))
    needs = algorithm.needs
    store.provide(needs, algorithm.gamma)
    key = UpdateKey([0])
    for update in range(60):
        algorithm.step(store.draw(key.at(update), 8, needs), key)
    bare = {f"algorithm.{name}": value for name, value in algorithm.state_dict().items()}
    trained = {name: value for name, value in saved["state_dict"].items() if name.startswith("algorithm.")}
    assert same_bits(bare, trained) == []
