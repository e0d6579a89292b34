"""Recordings to our layout: nothing lost, nothing invented, the same bytes every time, whatever interrupts it."""

import hashlib
import json
import subprocess
import sys

import h5py
import numpy as np
import pytest

from tests.run.runs import environment
from tests.support import RECORDED, small_columns
from tools import make_bundled_battles
from vgm2p.datamodules.layout.checks import check
from vgm2p.datamodules.layout.reading import read
from vgm2p.datamodules.layout.schema import TERMINAL, TIMEOUT, content_hash
from vgm2p.datamodules.layout.writing import write
from vgm2p.datamodules.sources.recorded import Bundled, Files, Recorded, convert
from vgm2p.errors import DataError, MissingInput

NAMES = sorted(path.stem for path in RECORDED.glob("*.hdf5"))


def recording(name):
    with h5py.File(RECORDED / f"{name}.hdf5") as file:
        return {key: dataset[...] for key, dataset in file.items()}, dict(file.attrs)


@pytest.mark.parametrize("name", NAMES)
def test_every_number_of_a_recording_is_kept(name, tmp_path):
    source, attributes = recording(name)
    convert(RECORDED / f"{name}.hdf5", tmp_path / "out.h5")
    ours = read(tmp_path / "out.h5", verify="full")
    agents = attributes["n_agents"]
    for e, (first, last) in enumerate(zip(source["episode_offsets"], source["episode_offsets"][1:], strict=False)):
        begin, length = ours.episodes["start"][e], last - first
        acted = slice(begin, begin + length)
        assert ours.episodes["length"][e] == length
        np.testing.assert_array_equal(ours.steps["robot_observation"][acted], source["observations"][first:last])
        np.testing.assert_array_equal(ours.steps["robot_observation"][begin + length], source["final_observations"][e])
        np.testing.assert_array_equal(ours.steps["actions"][acted].reshape(length, -1), source["actions"][first:last])
        np.testing.assert_array_equal(ours.steps["rewards"][acted], source["rewards"][first:last])
        assert ours.steps["actions"].shape[1:] == (agents, source["actions"].shape[1] // agents)
        assert ours.steps["has_action"][begin + length] == 0
        fell = bool(source["terminations"][last - 1])
        assert ours.episodes["end"][e] == (TERMINAL if fell else TIMEOUT)
        assert ours.steps["terminal"][acted].sum() == fell
        assert ours.steps["timeout"][acted].sum() == (not fell)
        assert ours.episodes["return"][e] == pytest.approx(source["rewards"][first:last].astype(np.float64).sum())
    assert all(good for _, good, _ in check(tmp_path / "out.h5"))


def test_the_same_recording_gives_the_same_file(tmp_path):
    for target in ("a.h5", "b.h5"):
        convert(RECORDED / "hopper-medium.hdf5", tmp_path / target)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def source_of(tmp_path, *names):
    return Recorded(str(RECORDED), list(names), str(tmp_path / "cache"))


def test_a_recording_is_converted_once(tmp_path):
    (path,) = source_of(tmp_path, "hopper-medium").resolve()
    stamp = path.stat().st_mtime_ns
    assert source_of(tmp_path, "hopper-medium").resolve() == [path]
    assert path.stat().st_mtime_ns == stamp


def test_a_changed_recording_is_converted_anew(tmp_path):
    folder = tmp_path / "recordings"
    folder.mkdir()
    (folder / "x.hdf5").write_bytes((RECORDED / "hopper-medium.hdf5").read_bytes())
    first = Recorded(str(folder), ["x"], str(tmp_path / "cache")).resolve()
    (folder / "x.hdf5").write_bytes((RECORDED / "hopper-expert.hdf5").read_bytes())
    assert Recorded(str(folder), ["x"], str(tmp_path / "cache")).resolve() != first


CONVERT = """
import os, sys, time
import vgm2p.io.files as files
real = os.replace
def slow(source, target):
    if str(target).endswith(".h5"):
        print("WRITTEN", flush=True)
        time.sleep({seconds})
    real(source, target)
files.os.replace = slow
import vgm2p.datamodules.layout.schema
from vgm2p.datamodules.sources.recorded import Recorded
print(*Recorded(sys.argv[1], ["hopper-medium"], sys.argv[2]).resolve())
"""


def converting(tmp_path, seconds):
    words = [sys.executable, "-c", CONVERT.format(seconds=seconds), str(RECORDED), str(tmp_path / "cache")]
    return subprocess.Popen(words, env=environment(), stdout=subprocess.PIPE, text=True)


def test_a_killed_conversion_leaves_nothing_and_starts_again(tmp_path):
    process = converting(tmp_path, 60)
    assert [process.stdout.readline() for _ in range(2)][1] == "WRITTEN\n"
    process.kill()
    process.wait()
    left = [path.name for path in (tmp_path / "cache").iterdir() if path.suffix == ".h5"]
    assert left == []
    (path,) = source_of(tmp_path, "hopper-medium").resolve()
    assert all(good for _, good, _ in check(path))
    assert [p.name for p in (tmp_path / "cache").iterdir() if p.suffix == ".tmp"] == []


def test_two_processes_convert_once(tmp_path):
    both = [converting(tmp_path, 0.5) for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0].split() for process in both]
    assert {output[-1] for output in outputs} == {str(p) for p in (tmp_path / "cache").glob("*.h5")}
    assert sum(output.count("WRITTEN") for output in outputs) == 1


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_recording_is_refused(share, tmp_path):
    data = (RECORDED / "hopper-medium.hdf5").read_bytes()
    (tmp_path / "hopper-medium.hdf5").write_bytes(data[: int(share * len(data))])
    with pytest.raises(DataError, match="empty file" if share == 0.0 else "cannot be read"):
        Recorded(str(tmp_path), ["hopper-medium"], str(tmp_path / "cache")).resolve()
    assert not list((tmp_path / "cache").glob("*.h5"))


@pytest.mark.parametrize("row", [0, -1])
def test_end_flags_that_contradict_the_episodes_are_refused(row, tmp_path):
    path = tmp_path / "x.hdf5"
    path.write_bytes((RECORDED / "hopper-medium.hdf5").read_bytes())
    with h5py.File(path, "a") as file:
        flags = file["terminations"]
        flags[row] = not flags[row]
        file["truncations"][row] = False
    with pytest.raises(DataError, match="end flags contradict"):
        convert(path, tmp_path / "x.h5")
    assert not (tmp_path / "x.h5").exists()


def test_globs_are_sorted_and_a_pattern_without_match_is_named(tmp_path):
    for name in ("b", "a"):
        write(tmp_path / f"{name}.h5", small_columns())
    assert [path.name for path in Files([str(tmp_path / "*.h5")]).resolve()] == ["a.h5", "b.h5"]
    with pytest.raises(MissingInput, match="none"):
        Files([str(tmp_path / "none*.h5")]).resolve()


@pytest.mark.parametrize(("name", "largest"), [("6halfcheetah_quickstart", 6_000_000), ("2s3z_quickstart", 2_000_000)])
def test_a_bundled_set_is_the_documented_one(name, largest):
    path = Bundled(name).resolve()[0]
    readme = (path.parent / "README.md").read_text()
    assert path.stat().st_size <= largest
    assert hashlib.sha256(path.read_bytes()).hexdigest() in readme
    assert content_hash(read(path, verify="full")) in readme
    assert "Permission is hereby granted" in (path.parent / "NOTICE").read_text()


def test_the_bundled_battles_follow_the_rules_of_their_tool():
    columns = read(Bundled(make_bundled_battles.NAME, discrete=True).resolve()[0])
    episodes, steps = columns.episodes, columns.steps
    behaviours = json.loads(columns.attributes["behaviours"])
    assert [(each["policy"], each["noise"]) for each in behaviours] == [("heuristic", x) for x in (0.0, 0.1, 0.3)]
    assert np.bincount(episodes["behaviour"]).tolist() == [make_bundled_battles.BATTLES] * 3
    for name in ("observations", "state"):
        on_grid = steps[name] * make_bundled_battles.GRID
        assert np.array_equal(on_grid, np.round(on_grid)) and steps[name].dtype == np.float32
    acting = steps["has_action"] == 1
    legal = np.take_along_axis(steps["legal_actions"], steps["actions"].astype(int)[..., None], -1)[..., 0]
    assert legal[acting].all()
    won = steps["rewards"][episodes["start"] + episodes["length"] - 1] >= 1.0
    assert [int(won[episodes["behaviour"] == i].sum()) for i in range(3)] == [15, 8, 0]


def test_an_unknown_bundled_set_is_refused():
    with pytest.raises(MissingInput, match="no such dataset"):
        Bundled("none").resolve()
