"""What a reader cannot know, or what is damaged or made to do harm, is refused in one line, and nothing is left."""

import json
import os

import h5py
import numpy as np
import pytest

from tests.cli.answers import answer
from tests.datamodules.formats.writers import d4rl, episodes, omiga
from vgm2p.datamodules.layout.schema import TERMINAL, TRUNCATION

N = 9  # steps of the files below


def one(path, **changes):
    return d4rl(path, episodes([5, 4], [TERMINAL, TRUNCATION]), **changes)


def refused(path, *words):
    """Return the single line with which `data convert` refuses a file. No file may be left."""
    out = path.parent / "out" / "new.h5"
    code, text = answer(["data", "convert", str(path), f"out={out}", *words])
    assert code in (2, 65, 66), text
    assert text.count("\n") == 1, text
    assert len(text.partition(" vgm2p ")[0]) <= 208, text
    assert not list(out.parent.glob("*.h5")) if out.parent.exists() else True
    return text


def bad(index, value):
    def edit(name, array):
        array[index] = value
        return {name: array}

    return edit


NUMBERS = {"observations": (N, 5), "actions": (N, 4), "rewards": (N,)}
WRONG = {  # what is wrong -> (arrays that replace those of a sound file, what the line says)
    "no team": ({}, "name the team"),
    "NaN": ({"rewards": np.full(N, np.nan)}, "'rewards' holds nan in row 0"),
    "infinity": ({"observations": np.full((N, 5), np.inf)}, "'observations' holds inf in row 0"),
    "too large for float32": ({"observations": np.full((N, 5), 1e300)}, "too large for float32"),
    "shorter": ({"rewards": np.zeros(N - 1)}, f"shape ({N})"),
    "no rows": ({name: np.zeros((0, *shape[1:])) for name, shape in NUMBERS.items()}, "'observations' is"),
    "images": ({"observations": np.zeros((N, 4, 4, 3), "u1")}, "'observations' is uint8"),
    "indices": ({"actions": np.zeros((N, 1), "i8")}, "'actions' is int64"),
    "text": ({"rewards": np.full(N, b"x")}, "not numbers"),
    "flags": ({"terminals": np.full(N, 2)}, "'terminals' holds 2"),
    "missing": ({"rewards": None, "terminals": None}, "not in our layout"),
    "no timeouts": ({"timeouts": None}, "set episode_limit=<steps>"),
    "no ends": ({"terminals": np.zeros(N), "timeouts": np.zeros(N)}, "set episode_limit=<steps>"),
    "an end flag is missing": ({"terminals": np.zeros(N)}, "'next_observations' of row 4"),
    "narrow next observations": ({"next_observations": np.zeros((N, 2), "f4")}, "not as wide"),
    "whole numbers": (
        {"actions": np.full((N, 4), 2.0, "f4")},
        "write them with vgm2p.write_dataset if they are indices, else set action_scale=<number> or clip=true",
    ),
    "actions beyond their range": ({"actions": np.full((N, 4), 2.5, "f4")}, "set action_scale=<number> or clip=true"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_d4rl_file_that_cannot_be_known_is_refused(what, tmp_path):
    changes, says = WRONG[what]
    words = [] if what == "no team" else ["agents=2"]
    assert says in refused(one(tmp_path / "x.hdf5", **changes), *words)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["agents=3"], "agents=3 cannot share the 4 actions equally"),
        (["agents=2", "action_split=[[0],[1],[2],[3]]"], "agents=2, but action_split has 4 lists"),
        (["action_split=[[0,1],[2]]"], "each of the 4 actions (0 to 3) exactly once"),
        (["action_split=[[0,1],[1,2,3]]"], "exactly once"),
        (["action_split=[[0],[1,2,3]]"], "gives agents 1 to 3 actions"),
        (["action_split=[[0,1],[2,4]]"], "entries (0 to 3)"),
        (["action_split=[0,1,2,3]"], "action_split must be a list of entries"),
        (["action_split=[]"], "action_split must be a list of entries"),
        (["agents=2", "observation_split=[[0,1]]"], "observation_split has 1 lists for 2 agents"),
        (["agents=2", "observation_split=[[0],[5]]"], "entries (0 to 4)"),
        (["agents=2", "observation_split=[[0],[-1]]"], "entries (0 to 4)"),
        (["agents=2", "episode_limit=3"], "episode 0 has 5 steps, more than the limit of 3"),
        (["agents=2", "layout=native"], "layout= is not read for a file of D4RL"),
        (["agents=2", "discrete=true"], "discrete= is not read for a file of D4RL"),
        (["agents=2", "action_scale=0"], "action_scale must be"),
        (["env_id=mamujoco_v1/Hopper/3x1/obsk1"], "env_id=mamujoco_v1/Hopper/3x1/obsk1 has 11 observed numbers"),
        (["env_id=mamujoco_v1/Hopper/9x1/obsk1"], "refuses Hopper 9x1"),
        (["env_id=mamujoco_v1/Hopper/3x1/obsk1", "agents=2"], "agents=2, but"),
    ],
)
def test_a_team_that_does_not_fit_is_refused(words, says, tmp_path):
    if "mamujoco_v1" in words[0]:
        pytest.importorskip("gymnasium_robotics")
    assert says in refused(one(tmp_path / "x.hdf5"), *words)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.4, 0.7, 0.95])
@pytest.mark.parametrize("kind", ["d4rl", "omiga"])
def test_a_truncated_file_is_refused(kind, share, tmp_path):
    path = tmp_path / "x.hdf5"
    one(path) if kind == "d4rl" else omiga(path, [6, 4])
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    refused(path, *(["agents=2"] if kind == "d4rl" else []))


def hdf5(path):
    return h5py.File(path, "a")


def as_link(path):
    with h5py.File(path.with_name("other.h5"), "w") as other:
        other["x"] = np.zeros((N, 5), "f4")
    with hdf5(path) as file:
        del file["observations"]
        file["observations"] = h5py.ExternalLink("other.h5", "x")


def as_bomb(path):
    with hdf5(path) as file:
        for name in ("observations", "actions", "rewards", "terminals", "timeouts", "next_observations"):
            shape = (1 << 26, *file[name].shape[1:])
            del file[name]
            file.create_dataset(name, shape, "f4", chunks=(1 << 16, *shape[1:]), compression="gzip")


def as_group(path):
    with hdf5(path) as file:
        del file["observations"]
        file.create_group("observations")


@pytest.mark.parametrize(
    ("change", "says"), [(as_link, "is a link"), (as_bomb, "declares"), (as_group, "is a group, not an array")]
)
def test_a_file_that_is_made_to_do_harm_is_refused(change, says, tmp_path):
    change(one(tmp_path / "x.hdf5"))
    assert says in refused(tmp_path / "x.hdf5", "agents=2")


def folder(tmp_path, count=2, metadata="{}", **changes):
    """Write the files of Minari by hand, because its writer refuses what is wrong with them."""
    rng = np.random.default_rng(0)
    with h5py.File(tmp_path / "main_data.hdf5", "w") as file:
        for number in range(count):
            arrays = {
                "observations": rng.normal(size=(5, 3)),
                "actions": rng.uniform(-1, 1, (4, 2)),
                "rewards": np.zeros(4),
                "terminations": np.zeros(4, bool),
                "truncations": np.arange(4) == 3,
            } | changes
            for name, array in arrays.items():
                if array is not None:
                    file[f"episode_{number}/{name}"] = array
    (tmp_path / "metadata.json").write_text(metadata)
    return tmp_path / "main_data.hdf5"


ODD = {
    "no final observation": ({"observations": np.zeros((4, 3))}, "shape (5, any)"),
    "images": ({"observations": np.zeros((5, 8, 8, 3), "u1")}, "is uint8"),
    "dict observations": ({"observations": None, "observations/x": np.zeros((5, 3))}, "is a group"),
    "indices": ({"actions": np.zeros(4, "i8")}, "is int64"),
    "missing": ({"rewards": None}, "'episode_0/rewards' is missing"),
    "goes on": ({"terminations": np.arange(4) == 1}, "episode_0 goes on behind its end flag in row 1"),
    "NaN": ({"actions": np.full((4, 2), np.nan)}, "'episode_0/actions' holds nan in row 0"),
    "metadata": ({"metadata": "[]"}, "holds no JSON object"),
    "environment": ({"metadata": json.dumps({"env_spec": "x"})}, "holds no JSON object"),
    "limit": ({"metadata": json.dumps({"env_spec": json.dumps({"max_episode_steps": 3})})}, "the limit of 3"),
}


@pytest.mark.parametrize("what", ODD)
def test_a_file_of_minari_that_cannot_be_known_is_refused(what, tmp_path):
    changes, says = ODD[what]
    assert says in refused(folder(tmp_path, **changes), "agents=2")


def test_missing_episodes_links_and_fifos_of_minari_are_refused(tmp_path):
    path = folder(tmp_path)
    (tmp_path / "metadata.json").unlink()
    os.mkfifo(tmp_path / "metadata.json")  # it is no plain file, so it is not read
    assert answer(["data", "convert", str(path), "agents=2", f"out={tmp_path / 'new.h5'}"]) == (0, "")
    with hdf5(path) as file:
        file["episode_2"] = h5py.ExternalLink("main_data.hdf5", "episode_0")
    assert "'episode_2' is no group" in refused(path, "agents=2")
    with hdf5(path) as file:
        del file["episode_2"]
        file.move("episode_1", "episode_7")
    assert "not numbered from 0 to 1" in refused(path, "agents=2")


def test_a_file_of_omiga_that_contradicts_itself_is_refused(tmp_path):
    path = tmp_path / "x.hdf5"
    omiga(path, [4, 4], d=np.arange(10) % 5 == 3)
    assert "row 3 has an end flag, but its actions or rewards are not zero" in refused(path)
    omiga(path, [4, 4], a=np.zeros((10, 2, 1)))
    assert "'a' is float64 of shape (10, 2, 1)" in refused(path)
    omiga(path, [4, 4], d=np.zeros(10))
    words = ["episode_limit=5"]
    assert "set episode_limit=<steps>" in (line := refused(path)) and "and set layout=native" in line
    assert "set layout=native" in (line := refused(path, *words)) and "episode_limit=" not in line
    code, text = answer(["data", "convert", str(path), f"out={tmp_path / 'new.h5'}", *words, "layout=native"])
    assert (code, text) == (0, "")
    omiga(path, [4, 4])
    assert "agents= is not read for a file of OMIGA" in refused(path, "agents=3")
    omiga(path, [4, 4], s=np.zeros((10, 3)))
    assert "'s' is float64 of shape (10, 3)" in refused(path)


def test_keys_of_a_team_are_refused_where_nothing_reads_them(tmp_path):
    assert "is for your own data" in answer(["data", "convert", "smac_v1/3m/Good", "agents=3"])[1]
    code, text = answer(["data", "convert", "nowhere/at-all", "agents=3"])
    assert (code, "is for your own data" in text, "nowhere/at-all" in text) == (2, False, True)
    assert "data check does not read agents=" in answer(["data", "check", "agents=3"])[1]
