"""Inputs of the cases: recordings, datasets in our layout and files of other programs, as their own writers make them."""

import contextlib
import io
from pathlib import Path

import h5py
import numpy as np

from tests.cli.answers import TINY, answer
from vgm2p.datamodules.layout.episodes import Episodes
from vgm2p.datamodules.layout.reading import read
from vgm2p.datamodules.layout.schema import TIMEOUT, Columns
from vgm2p.datamodules.sources.recorded import Bundled

NAME = "halfcheetah-medium"  # the recording that data=recorded_6halfcheetah_medium reads


def recording(path: Path, episodes=6, length=20, width=17, joints=6, attributes=(), **arrays) -> Path:
    """A robot recording of format 1 (HalfCheetah 6x1). `arrays` and `attributes` replace; None leaves one out."""
    rng = np.random.default_rng(0)
    steps = episodes * length
    found = {
        "observations": rng.normal(size=(steps, width)).astype("f4"),
        "actions": rng.uniform(-1, 1, (steps, joints)).astype("f4"),
        "rewards": rng.normal(size=steps).astype("f4"),
        "terminations": np.zeros(steps, bool),
        "truncations": np.arange(steps) % length == length - 1,
        "final_observations": rng.normal(size=(episodes, width)).astype("f4"),
        "episode_offsets": np.arange(0, steps + 1, length),
        "episode_seeds": np.arange(episodes),
        "episode_behaviours": np.zeros(episodes, "i1"),
        "episode_ids": np.repeat(np.arange(episodes), length).astype("i4"),
        "episode_lengths": np.full(episodes, length, "i4"),
    }
    found["episode_returns"] = found["rewards"].reshape(episodes, length).sum(1)
    about = {
        "name": path.stem,
        "robot": "HalfCheetah",
        "env_id": "HalfCheetah-v5",
        "env_kwargs": "{}",
        "agent_conf": "6x1",
        "n_agents": 6,
        "actions_per_agent": 1,
        "max_episode_steps": length,
        "behaviours": "[]",
        "seed": 0,
        "gymnasium_version": "1.4.0",
        "mujoco_version": "4.0.0",
        "format_version": 1,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, array in {**found, **arrays}.items():
            if array is not None:
                file[name] = array
        for name, value in {**about, **dict(attributes)}.items():
            if value is not None:
                file.attrs[name] = value
    return path


def own(episodes=4, length=30) -> Columns:
    """A dataset in our layout (HalfCheetah 6x1), with final observations."""
    rng = np.random.default_rng(0)
    table = Episodes(np.full(episodes, length), np.full(episodes, TIMEOUT), finals=True)
    steps = {
        "robot_observation": rng.normal(size=(table.total, 17)).astype("f4"),
        "actions": table.spread(rng.uniform(-1, 1, (episodes * length, 6, 1)).astype("f4")),
        "rewards": table.spread(rng.normal(size=episodes * length).astype("f4")),
    }
    task = {"n_agents": 6, "action_dim": 1, "discrete": 0, "episode_limit": 1000}
    return table.columns(steps, {**task, "name": "own", "env_id": "HalfCheetah-v5", "env_kwargs": "{}"})


def bundled() -> Columns:
    """The bundled dataset, for a changed copy."""
    return read(Bundled().resolve()[0], verify="never")


def virtual(path: Path, raw: Path, names=("observations", "actions", "rewards")) -> Path:
    """A copy of the recording `raw` in which the arrays `names` are virtual datasets, stored in `raw`."""
    with h5py.File(raw) as source, h5py.File(path, "w") as file:
        for name, array in source.items():
            if name not in names:
                source.copy(name, file)
                continue
            layout = h5py.VirtualLayout(array.shape, array.dtype)
            layout[...] = h5py.VirtualSource(raw.name, name, array.shape)
            file.create_virtual_dataset(name, layout)
        file.attrs.update(source.attrs)
    return path


def d4rl(path: Path) -> None:
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        file["observations"], file["actions"] = rng.normal(size=(200, 17)), rng.uniform(-1, 1, (200, 6))
        file["rewards"], file["terminals"] = rng.normal(size=200), np.arange(200) == 70
        file["timeouts"] = np.arange(200) % 50 == 49
        file["infos/qpos"] = np.zeros((200, 9))


def minari(path: Path) -> None:
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        for number in range(2):
            group = file.create_group(f"episode_{number}")
            group["observations"], group["actions"] = rng.normal(size=(21, 17)), rng.uniform(-1, 1, (20, 6))
            group["rewards"], group["terminations"] = np.zeros(20), np.zeros(20, bool)
            group["truncations"] = np.arange(20) == 19


def omiga(path: Path) -> None:
    """Two episodes of 20 steps. A row with an end flag is the reset of the next episode, without action and reward."""
    rng, ended = np.random.default_rng(0), np.arange(42) % 21 == 20
    robot = np.repeat(rng.normal(size=(42, 1, 17)), 6, 1)
    seen = np.concatenate([robot, np.broadcast_to(np.eye(6), (42, 6, 6))], -1)
    seen = (seen - seen.mean(-1, keepdims=True)) / seen.std(-1, keepdims=True)
    with h5py.File(path, "w") as file:
        file["s"], file["o"], file["d"] = seen, seen, ended[:, None]
        file["a"] = rng.uniform(-1, 1, (42, 6, 1)) * ~ended[:, None, None]
        file["r"] = rng.normal(size=(42, 1)) * ~ended[:, None]


def robomimic(path: Path) -> None:
    with h5py.File(path, "w") as file:
        for number in range(2):
            group = file.create_group(f"data/demo_{number}")
            group["actions"], group["rewards"], group["obs/object"] = (
                np.zeros((20, 7)),
                np.zeros(20),
                np.zeros((20, 10)),
            )


def pymarl(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["obs"], file["actions"] = np.zeros((8, 61, 3, 30)), np.zeros((8, 61, 3, 1), int)
        file["avail_actions"], file["reward"] = np.ones((8, 61, 3, 9)), np.zeros((8, 61, 1))
        file["terminated"], file["filled"] = np.zeros((8, 61, 1)), np.ones((8, 61, 1))


def shown(function, *words) -> str:
    """What a function prints, as one text."""
    with contextlib.redirect_stdout(io.StringIO()) as output:
        function(*words)
    return output.getvalue()


def refused(words, code: int, *parts: str) -> str:
    """Run a command that must fail in one line of at most 200 characters (a command at its end not counted)."""
    found, text = answer([str(word) for word in words])
    lines = text.strip().splitlines()
    assert len(lines) == 1, text
    assert found == code and all(part in lines[0] for part in parts), (found, lines[0])
    assert "internal error" not in text and "Traceback" not in text
    return lines[0]


def fit(folder: Path, *words: str) -> list[str]:
    """The words of a tiny run in `folder`, on data that `words` name."""
    return ["fit", *TINY, f"out={folder / 'run'}", f"data.cache={folder / 'cache'}", *words]


def on_file(folder: Path, path: Path) -> list[str]:
    return fit(folder, "data=files", f"data.source.paths=[{path}]")


def on_recordings(folder: Path, root: Path) -> list[str]:
    return fit(folder, "data=recorded_6halfcheetah_medium", f"data.root={root}")
