"""Bit-identical resume, checked on real runs in processes of their own."""

import signal
import time

import pytest

from tests.run.kills import BROKEN_KEY, SLOW_SAVE, kill_in_save, trial
from tests.run.runs import content, differences, newest, run, same_bits, start


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "whole"
    done = run(out)
    assert done.returncode == 0, done.stderr
    return out


def test_five_kills(tmp_path):
    assert trial(5, 2, 0, tmp_path) == []


def test_other_block_size_and_longer_total_train_exactly_the_missing_updates(whole, tmp_path):
    out = tmp_path / "parts"
    assert run(out, updates=25, block_updates=1).returncode == 0
    assert content(out)["vgm2p"]["updates"] == 25
    assert run(out, updates=41, block_updates=50).returncode == 0
    done = run(out)
    assert done.returncode == 0, done.stderr
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
    assert "finished before" in done.stdout
    assert "dataset mean" in done.stdout
    assert {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()} == before


def test_damaged_newest_checkpoint_falls_back_to_the_one_before(whole, tmp_path):
    out = tmp_path / "damaged"
    kill_in_save(start(out, SLOW_SAVE), 4)
    path = newest(out)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    done = run(out)
    assert done.returncode == 0, done.stderr
    assert "skipped" in done.stdout
    assert differences(whole, out) == []


WAIT = """
import vgm2p.training.module as module, vgm2p.callbacks.evaluate as evaluation, vgm2p.io.files as files, time, os
def tell(where, name, label, seconds):
    real = getattr(where, name)
    def wrapped(*a, **k):
        print(label, flush=True)
        time.sleep(seconds)
        return real(*a, **k)
    setattr(where, name, wrapped)
tell(module.OfflineModule, "_draw", "TRAINING", 0.02)
tell(evaluation.Evaluate, "_evaluate", "EVALUATION", 0)
real_replace = os.replace
def slow(source, target):
    if str(target).endswith(".ckpt"):
        print("SAVE", flush=True)
        time.sleep(0.5)
    real_replace(source, target)
files.os.replace = slow
"""


@pytest.mark.parametrize("phase", ["TRAINING", "EVALUATION", "SAVE"])
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_save_and_end_in_five_seconds(whole, tmp_path, phase, signum, code):
    out = tmp_path / "stopped"
    process = start(out, WAIT)
    for line in process.stdout:
        if line.startswith(phase):
            break
    sent = time.monotonic()
    process.send_signal(signum)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == code, errors
    assert time.monotonic() - sent <= 5.0
    assert errors.startswith("vgm2p: stopped") and errors.count("\n") == 1
    assert newest(out).exists()
    assert run(out).returncode == 0
    assert differences(whole, out) == []


def test_second_signal_does_not_disturb_the_save(whole, tmp_path):
    out = tmp_path / "twice"
    process = start(out, WAIT)
    for line in process.stdout:
        if line.startswith("SAVE"):
            break
    process.send_signal(signal.SIGTERM)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 143
    assert run(out).returncode == 0
    assert differences(whole, out) == []


def test_lightning_trains_what_a_bare_loop_trains(whole):
    """The Trainer adds nothing: its weights are those of calling `update` 60 times (it once dropped the gradients)."""
    import torch

    from vgm2p.config.build import make_algorithm
    from vgm2p.datamodules.sources.recorded import Bundled
    from vgm2p.datamodules.store.resident import TransitionStore
    from vgm2p.rng import UpdateKey
    from vgm2p.types import Spec

    saved = content(whole)
    config = saved["vgm2p"]["config"]
    torch.set_num_threads(1)
    store = TransitionStore.load(Bundled().resolve())
    algorithm = make_algorithm(config, Spec(**saved["vgm2p"]["spec"]))
    algorithm.set_statistics(*store.statistics)
    needs = algorithm.needs
    store.provide(needs, algorithm.gamma)
    key = UpdateKey([0])
    for update in range(60):
        algorithm.update(store.draw(key.at(update), 8, needs), key)
    bare = {f"algorithm.{name}": value for name, value in algorithm.state_dict().items()}
    trained = {name: value for name, value in saved["state_dict"].items() if name.startswith("algorithm.")}
    assert same_bits(bare, trained) == []
