"""Which checkpoints a resumed run takes: intact ones, of this run, with the logs as they were."""

import os
import pickle
import shutil
import zipfile

import pytest
import torch

from tests.cases.trusted import ENDED, TOTAL, edit, files, refused, slow
from tests.run.runs import differences, newest, program, run, succeeded
from vgm2p.run.checkpoint import digest_path


def other_rate(content):
    config = content["vgm2p"]["config"]
    config["optim"]["lr"] = config["algo"]["optim"]["lr"] = 0.5


def other_algorithm(content):
    content["vgm2p"]["config"]["algo"]["_target_"] = "vgm2p.algos.bc_flow.BCFlow"


def newer_format(content):
    content["vgm2p"]["format"] = 99


def no_moments(content):
    for state in content["optimizer_states"]:
        state["state"] = {}


def no_optimisers(content):
    content["optimizer_states"] = []


def other_counter(content):
    content["vgm2p"]["updates"] = 45


def other_clock(content):
    content["state_dict"]["updates"].fill_(45)


def more_seeds(content):
    content["vgm2p"]["seeds"] = [0, 1]


def other_shape(content):
    name = next(name for name, value in content["state_dict"].items() if value.ndim == 3)
    content["state_dict"][name] = content["state_dict"][name][..., :-1].clone()


def unknown_tensor(content):
    content["state_dict"]["algorithm.more"] = torch.zeros(3)


def no_weights(content):
    del content["state_dict"]


def no_window(content):
    del content["vgm2p"]["window"]


def other_freezing(content):
    content["vgm2p"]["froze"]["nobody"] = torch.zeros(1)


def no_config(content):
    content["vgm2p"]["config"] = None


FOREIGN = [
    other_rate,
    other_algorithm,
    newer_format,
    no_moments,
    no_optimisers,
    other_counter,
    other_clock,
    more_seeds,
    other_shape,
    unknown_tensor,
    no_weights,
    no_window,
    other_freezing,
    no_config,
]


@pytest.mark.parametrize(
    "change",
    [each if each in (other_rate, newer_format, no_moments, other_shape) else slow(each) for each in FOREIGN],
)
def test_a_checkpoint_of_another_run_is_skipped_for_the_one_before(out, whole, change):
    edit(newest(out), change)
    done = succeeded(run(out))
    assert "skipped" in done.stdout and "continuing after update 40" in done.stdout
    assert (out / "checkpoints" / "update-000000050.ckpt.aside").exists()
    assert differences(whole, out) == []


class Evil:
    def __reduce__(self):
        return os.mkdir, ("canary",)


def test_a_pickle_in_a_checkpoint_is_refused_and_not_executed(out, whole, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = newest(out)
    content = torch.load(path, weights_only=True)
    content["vgm2p"]["config"]["algo"]["more"] = Evil()
    torch.save(content, path)
    digest_path(path).unlink()
    refused(program(tmp_path, "evaluate", f"ckpt={path}"), "cannot be read as a checkpoint")
    done = succeeded(run(out))
    assert "cannot be read as a checkpoint" in done.stdout and "continuing after update 40" in done.stdout
    assert differences(whole, out) == []
    bare = tmp_path / "update-000000007.ckpt"
    bare.write_bytes(pickle.dumps(Evil()))
    refused(program(tmp_path, "evaluate", f"ckpt={bare}"), "not a checkpoint")
    assert not list(tmp_path.rglob("canary"))


def swollen(content):
    """Describe a wide network; its weights are single elements that are repeated by a stride of 0."""
    content["vgm2p"]["config"]["algo"]["net"]["width"] = 20_000
    state = content["state_dict"]
    state.update({name: torch.zeros(1).expand(value.numel(), 1000) for name, value in state.items()})


def test_tensors_that_are_larger_than_their_file_are_refused(out):
    path = newest(out)
    edit(path, swollen)
    refused(program(out, "evaluate", f"ckpt={path}"), "its tensors are far larger than the file")


def test_a_pickle_under_another_name_cannot_ask_for_memory(out):
    """torch finds the parts of the archive without regard to case."""
    path = newest(out)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    digest_path(path).unlink()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            first = b"\x80\x02c__builtin__\nbytearray\nK\x05\x85R0" if name.endswith("data.pkl") else b""
            archive.writestr(name.replace("data.pkl", "data.PKL"), first + data[2 if first else 0 :])
    refused(program(out, "evaluate", f"ckpt={path}"), "it calls __builtin__ bytearray")


def test_a_checkpoint_under_another_name_is_skipped(out, whole):
    shutil.copy(newest(out), out / "checkpoints" / "update-000000055.ckpt")
    done = succeeded(run(out))
    assert "it does not hold 55 updates" in done.stdout
    assert "continuing after update 50" in done.stdout
    assert differences(whole, out) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (other_rate, "belongs to another run (optim.lr: 0.5 -> 0.001)"),
        (newer_format, "has format 99, this version reads 1"),
    ],
)
def test_without_a_checkpoint_of_its_own_the_run_ends_in_one_line(out, change, said):
    for path in sorted((out / "checkpoints").glob("*.ckpt")):
        edit(path, change)
    before = files(out)
    refused(run(out), said)
    assert files(out) == before


def test_damaged_digests_do_not_discard_good_checkpoints(out, whole):
    paths = sorted((out / "checkpoints").glob("*.sha256"))
    for path in paths:
        data = bytearray(path.read_bytes())
        data[7] ^= 1
        path.write_bytes(data)
    seen = succeeded(program(out, "evaluate", "run=.", "episodes=1", "act_noise=[1]"))
    assert seen.stderr.count("update-000000050.ckpt.sha256 is damaged: the checkpoint's own checksums are right") == 1
    shutil.rmtree(out / "evaluations")
    done = succeeded(run(out))
    assert "update-000000050.ckpt.sha256 is damaged" in done.stderr
    assert "wrote update-000000050.ckpt.sha256 again" in done.stdout
    assert "continuing after update 50" in done.stdout
    assert differences(whole, out) == []


def test_a_finished_run_without_checkpoints_keeps_its_results(out):
    shutil.rmtree(out / "checkpoints")
    before = files(out)
    assert "already finished" in succeeded(run(out, updates=ENDED)).stdout
    for updates in (20, TOTAL):
        refused(run(out, updates=updates), "has results of 50 updates, but no checkpoint to go on from")
    assert {path: data for path, data in files(out).items() if path.parent.name != "checkpoints"} == before
