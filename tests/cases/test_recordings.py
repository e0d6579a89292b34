"""Recordings that contradict themselves, are stored in absent pieces, or share a name: one line each, nothing kept."""

import h5py
import numpy as np
import pytest

from tests.cases.inputs import NAME, on_recordings, recording, refused, shown, virtual
from tests.cli.answers import answer
from vgm2p.datamodules.layout.reading import read
from vgm2p.datamodules.sources.recorded import Recorded
from vgm2p.errors import DataError, MissingInput

# what -> (arrays, attributes, what the line says)
CONTRADICTIONS = {
    "offsets of fewer episodes": ({"episode_offsets": np.arange(0, 101, 20)}, {}, "'episode_offsets' has 6 rows"),
    "offsets that go back": ({"episode_offsets": np.array([0, 40, 20, 60, 80, 100, 120])}, {}, "episode_offsets"),
    "offsets beyond the end": ({"episode_offsets": np.array([0, 20, 40, 60, 80, 100, 140])}, {}, "120 steps"),
    "offsets as floats": ({"episode_offsets": np.arange(0, 121, 20.0)}, {}, "whole numbers"),
    "five of six finals": ({"final_observations": np.zeros((5, 17), "f4")}, {}, "'final_observations' has 5 rows"),
    "finals of another width": ({"final_observations": np.zeros((6, 16), "f4")}, {}, "has width 17"),
    "four agents": ({}, {"n_agents": 4}, "4 agents"),
    "rewards per agent": ({"rewards": np.ones((120, 6), "f4")}, {}, "'rewards' is float32 of shape (120, 6)"),
    "rewards with an axis": ({"rewards": np.ones((120, 1), "f4")}, {}, "shape (120, 1)"),
    "no rewards": ({"rewards": None}, {}, "'rewards' is missing"),
    "no step": ({"rewards": np.zeros(0, "f4")}, {}, "no episode"),
    "text for rewards": ({"rewards": ["a"] * 120}, {}, "not numbers"),
    "flags of 2": ({"terminations": np.full(120, 2, "u1")}, {}, "'terminations' is 2 in row 0"),
    "flag inside an episode": ({"terminations": np.arange(120) == 7}, {}, "end flags contradict"),
    "no flag": ({"truncations": np.zeros(120, bool)}, {}, "first in row 19"),
    "returns": ({"episode_returns": np.ones(6, "f4")}, {}, "the return of episode 0 is 1, its rewards sum to -1.1284"),
    "returns of NaN": ({"episode_returns": np.full(6, np.nan, "f4")}, {}, "is nan"),
    "lengths": ({"episode_lengths": np.full(6, 19)}, {}, "'episode_lengths' contradicts"),
    "ids": ({"episode_ids": np.zeros(120, int)}, {}, "first in row 20"),
    "longer than the limit": ({}, {"max_episode_steps": 10}, "max_episode_steps is 10"),
    "NaN": ({"observations": np.full((120, 17), np.nan)}, {}, "NaN or infinity, first in row 0"),
    "too large for float32": ({"observations": np.full((120, 17), 1e300)}, {}, "float32 cannot hold"),
    "actions of 3": ({"actions": np.full((120, 6), 3.0)}, {}, "actions reach 3.000"),
    "behaviours that nobody names": ({}, {"behaviours": '[{"policy": "x"}]'}, None),
    "behaviour 3 of 1": ({"episode_behaviours": np.full(6, 3)}, {"behaviours": '[{"policy": "x"}]'}, "reaches 3"),
    "no JSON": ({}, {"env_kwargs": "{a: 1}"}, "'env_kwargs' is '{a: 1}', not JSON"),
    "JSON of another kind": ({}, {"env_kwargs": "[1]"}, "not a JSON object"),
    "deep JSON": ({}, {"env_kwargs": "[" * 50000}, "not JSON"),
    "bytes for text": ({}, {"env_id": np.bytes_("HalfCheetah-v5")}, "not text"),
    "array for a number": ({}, {"n_agents": np.ones(3, int)}, "'n_agents'"),
    "no robot": ({}, {"robot": None}, "'robot' is missing"),
    "no agents": ({}, {"n_agents": 0}, "from 1"),
    "another format": ({}, {"format_version": 2}, "format_version is 2"),
}


@pytest.mark.parametrize("what", CONTRADICTIONS)
def test_a_recording_that_contradicts_itself_is_refused_in_one_line(what, tmp_path):
    arrays, attributes, says = CONTRADICTIONS[what]
    path = recording(tmp_path / f"{NAME}.hdf5", attributes=attributes, **arrays)
    source = Recorded(str(tmp_path), [NAME], str(tmp_path / "cache"))
    if says is None:
        assert len(read(source.resolve()[0]).episodes["start"]) == 6
        return
    with pytest.raises(DataError) as refusal:
        source.resolve()
    assert says in refusal.value.line and path.name in str(refusal.value)
    assert not list((tmp_path / "cache").glob("*.h5*"))


def test_the_program_says_the_same(tmp_path):
    recording(tmp_path / f"{NAME}.hdf5", attributes={"env_kwargs": "{a: 1}"})
    refused(on_recordings(tmp_path, tmp_path), 65, f"{NAME}.hdf5", "not JSON")


def test_double_precision_and_the_other_byte_order_are_read(tmp_path):
    numbers = np.random.default_rng(1).normal(size=(120, 17))
    recording(tmp_path / f"{NAME}.hdf5", observations=numbers.astype(">f8"))
    found = read(Recorded(str(tmp_path), [NAME], str(tmp_path / "cache")).resolve()[0])
    acted = found.steps["has_action"].astype(bool)
    np.testing.assert_array_equal(found.steps["robot_observation"][acted], numbers.astype("f4"))


def test_virtual_arrays_are_read_where_their_file_is_and_refused_where_it_is_not(tmp_path):
    recording(tmp_path / "raw.hdf5")
    virtual(tmp_path / f"{NAME}.hdf5", tmp_path / "raw.hdf5")
    source = Recorded(str(tmp_path), [NAME], str(tmp_path / "cache"))
    first = source.resolve()
    assert read(first[0]).steps["rewards"].any()
    recording(tmp_path / "raw.hdf5", observations=np.zeros((120, 17)))
    assert source.resolve() != first  # the data changed, though the file of that name did not
    (tmp_path / "raw.hdf5").rename(tmp_path / "moved.bin")
    with pytest.raises(MissingInput, match=r"raw.hdf5: missing, and 'observations' of .* is stored there"):
        source.resolve()
    refused(on_recordings(tmp_path, tmp_path), 66, "raw.hdf5: missing")


def half(file):
    layout = h5py.VirtualLayout((120,), "f4")
    layout[:60] = h5py.VirtualSource("raw.hdf5", "rewards", (120,))[:60]
    file.create_virtual_dataset("rewards", layout)


def twice(file):
    raw = h5py.VirtualSource("raw.hdf5", "rewards", (120,))
    layout = h5py.VirtualLayout((120,), "f4")
    layout[:60], layout[1:60], layout[:1] = raw[:60], raw[1:60], raw[:1]
    file.create_virtual_dataset("rewards", layout)


def beyond(file):
    layout = h5py.VirtualLayout((120,), "f4")
    layout[:] = h5py.VirtualSource("raw.hdf5", "rewards", (500,))[300:420]
    file.create_virtual_dataset("rewards", layout)


def elsewhere(file):
    layout = h5py.VirtualLayout((120,), "f4")
    layout[:] = h5py.VirtualSource("raw.hdf5", "nothing", (120,))
    file.create_virtual_dataset("rewards", layout)


def itself(file):
    layout = h5py.VirtualLayout((120,), "f4")
    layout[:] = h5py.VirtualSource(f"{NAME}.hdf5", "rewards", (120,))
    file.create_virtual_dataset("rewards", layout)


def external(file):
    file.create_dataset("rewards", (120,), "f4", external=[("/etc/hostname", 0, 480)])


def never_written(file):
    file.create_dataset("rewards", (120,), "f4")


def partly_written(file):
    file.create_dataset("rewards", (120,), "f4", chunks=(20,))[:40] = 1.0


def link(file):
    file["rewards"] = h5py.ExternalLink("raw.hdf5", "rewards")


PIECES = {
    half: "only 60 of 120 numbers",
    twice: "only 60 of 120 numbers",
    beyond: "needs more of 'rewards'",
    elsewhere: "'nothing'",
    itself: "virtual dataset of virtual",
    external: "stored in another file",
    never_written: "1 of 1 pieces of 'rewards' were never written",
    partly_written: "4 of 6 pieces",
    link: "is a link to raw.hdf5",
}


@pytest.mark.parametrize("make", PIECES, ids=lambda make: make.__name__)
def test_pieces_that_are_absent_are_not_read_as_zeros(make, tmp_path):
    recording(tmp_path / "raw.hdf5")
    recording(tmp_path / f"{NAME}.hdf5")
    with h5py.File(tmp_path / f"{NAME}.hdf5", "a") as file:
        del file["rewards"]
        make(file)
    with pytest.raises(DataError, match=PIECES[make]):
        Recorded(str(tmp_path), [NAME], str(tmp_path / "cache")).resolve()
    assert not list((tmp_path / "cache").glob("*.h5*"))


def test_virtual_arrays_of_interleaved_and_scattered_parts_are_read(tmp_path):
    recording(tmp_path / "raw.hdf5")
    recording(tmp_path / f"{NAME}.hdf5")
    raw, odd = h5py.VirtualSource("raw.hdf5", "rewards", (120,)), [1, 3, 5, 9]
    with h5py.File(tmp_path / f"{NAME}.hdf5", "a") as file:
        layout = h5py.VirtualLayout((120,), "f4")
        layout[::2], layout[odd], layout[7], layout[11::2] = raw[::2], raw[odd], raw[7:8], raw[11::2]
        wanted = file["rewards"][...]
        del file["rewards"]
        file.create_virtual_dataset("rewards", layout)
    columns = read(Recorded(str(tmp_path), [NAME], str(tmp_path / "cache")).resolve()[0])
    assert (columns.steps["rewards"][columns.steps["has_action"] == 1] == wanted).all()


def test_two_recordings_of_a_name_are_refused_with_both_paths(tmp_path):
    recording(tmp_path / "a_old" / f"{NAME}.hdf5", episodes=2)
    recording(tmp_path / f"{NAME}.hdf5")
    refused(on_recordings(tmp_path, tmp_path), 65, f"two files named {NAME}: a_old/{NAME}.hdf5 and {NAME}.hdf5;")
    recording(tmp_path / "b" / f"{NAME}.h5")
    (tmp_path / "a_old" / f"{NAME}.hdf5").unlink()
    refused(on_recordings(tmp_path, tmp_path), 65, f"b/{NAME}.h5")


def test_the_one_recording_of_a_name_is_told_and_hidden_ones_and_links_to_it_do_not_count(tmp_path):
    path = recording(tmp_path / "deep" / f"{NAME}.hdf5")
    recording(tmp_path / ".trash" / f"{NAME}.hdf5", episodes=2)
    (tmp_path / "deep" / f"._{NAME}.hdf5").write_bytes(bytes(4000))
    (tmp_path / "z.hdf5").symlink_to(path)
    (tmp_path / "hard").mkdir()
    (tmp_path / "hard" / path.name).hardlink_to(path)
    (tmp_path / "again").symlink_to(tmp_path / "deep")
    told = shown(Recorded(str(tmp_path), [NAME], str(tmp_path / "cache")).resolve)
    assert told.startswith("recording    ") and told.split()[1].endswith(f"/{NAME}.hdf5")


def test_a_recording_of_ones_own_is_converted_by_the_command_that_the_refusal_names(tmp_path):
    path = recording(tmp_path / "my robot.hdf5")
    line = refused(["data", "show", path], 65, "vgm2p data convert")
    place = tmp_path / "my robot_converted.h5"
    assert line.endswith(f"vgm2p data convert '{path}' 'out={place}'")
    assert answer(["data", "convert", str(path), f"out={place}"]) == (0, "")
    assert len(read(place).episodes["start"]) == 6
    refused(["data", "convert", place, f"out={tmp_path / 'x.h5'}"], 2, "in our layout already")


def test_a_read_only_cache_that_has_the_file_is_enough(tmp_path):
    recording(tmp_path / f"{NAME}.hdf5")
    source = Recorded(str(tmp_path), [NAME], str(tmp_path / "cache"))
    (target,) = source.resolve()
    (tmp_path / "cache" / f".{NAME}.lock").unlink()
    assert source.resolve() == [target]
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [target.name]
