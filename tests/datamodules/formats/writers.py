"""Files of other programs as their own writers make them, and what is in them, episode by episode."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from vgm2p.datamodules.layout.schema import INCOMPLETE, TERMINAL


@dataclass
class Truth:
    """One episode as it was written. `observations` has a further row if the final observation is stored."""

    observations: NDArray[np.float32]
    actions: NDArray[np.float32]
    rewards: NDArray[np.float32]
    end: int


def episodes(lengths, ends, width=5, actions=4, source=0) -> list[Truth]:
    """Return random episodes of one agent, with their final observations."""
    rng = np.random.default_rng(source)
    return [
        Truth(
            rng.normal(size=(length + 1, width)).astype("f4"),
            rng.uniform(-1, 1, (length, actions)).astype("f4"),
            rng.normal(size=length).astype("f4"),
            end,
        )
        for length, end in zip(lengths, ends, strict=True)
    ]


def d4rl(path: Path, truth: list[Truth], following=True, cuts=True, **changes) -> Path:
    """Write a D4RL file. `changes` replace arrays; None leaves one out."""
    last = np.cumsum([len(each.rewards) for each in truth]) - 1
    ends = np.array([each.end for each in truth])
    flags = np.zeros((2, last[-1] + 1), bool)
    flags[0, last] = ends == TERMINAL
    flags[1, last] = ~np.isin(ends, (TERMINAL, INCOMPLETE))
    arrays = {
        "observations": np.concatenate([each.observations[:-1] for each in truth]),
        "actions": np.concatenate([each.actions for each in truth]),
        "rewards": np.concatenate([each.rewards for each in truth]),
        "terminals": flags[0],
        "timeouts": flags[1] if cuts else None,
        "next_observations": np.concatenate([each.observations[1:] for each in truth]) if following else None,
        "infos/qpos": np.zeros((last[-1] + 1, 3)),
        "metadata/algorithm": b"SAC",
    }
    with h5py.File(path, "w") as file:
        for name, array in {**arrays, **changes}.items():
            if array is not None:
                file[name] = array
    return path


def minari(
    folder: Path, truth: list[Truth], monkeypatch, env=None, limit=None, data_format="hdf5", bounds=(-1.0, 1.0)
) -> Path:
    """Write a dataset with Minari itself, and return its folder."""
    import gymnasium
    from gymnasium import spaces

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(folder))
    with warnings.catch_warnings():  # about what a public dataset should name
        warnings.simplefilter("ignore")
        from minari import create_dataset_from_buffers
        from minari.data_collector import EpisodeBuffer

        buffers = [
            EpisodeBuffer(
                id=number,
                observations=list(each.observations),
                actions=list(each.actions),
                rewards=each.rewards.tolist(),
                terminations=[
                    step == len(each.rewards) - 1 and each.end == TERMINAL for step in range(len(each.rewards))
                ],
                truncations=[
                    step == len(each.rewards) - 1 and each.end != TERMINAL for step in range(len(each.rewards))
                ],
            )
            for number, each in enumerate(truth)
        ]
        width, actions = truth[0].observations.shape[1], truth[0].actions.shape[1]
        create_dataset_from_buffers(
            "team/test-v0",
            buffers,
            env=gymnasium.make(env, max_episode_steps=limit) if env else None,
            observation_space=spaces.Box(-np.inf, np.inf, (width,), np.float32),
            action_space=spaces.Box(
                *(np.broadcast_to(np.float32(bound), (actions,)) for bound in bounds), (actions,), np.float32
            ),
            data_format=data_format,
        )
    return folder / "team" / "test-v0"


def omiga(path: Path, lengths, agents=3, width=6, zscored=True, source=0, **changes) -> list[Truth]:
    """Write a file as OMIGA publishes them, and return its steps. An episode ends with a row that is no step."""
    rng = np.random.default_rng(source)
    truth, rows, state = [], {name: [] for name in "osard"}, []
    for length in lengths:
        robot = np.repeat(rng.normal(size=(length + 1, 1, width)), agents, 1)
        seen = np.concatenate([robot, np.broadcast_to(np.eye(agents), (length + 1, agents, agents))], -1)
        if zscored:
            seen = (seen - seen.mean(-1, keepdims=True)) / seen.std(-1, keepdims=True)
        acted, reward = rng.uniform(-1, 1, (length + 1, agents, 2)), rng.normal(size=(length + 1, 1))
        acted[-1] = reward[-1] = 0
        (
            rows["o"].append(seen),
            rows["s"].append(seen + (not zscored)),
            rows["a"].append(acted),
            rows["r"].append(reward),
        )
        rows["d"].append(np.arange(length + 1)[:, None] == length)
        state.append(seen[:-1])
        truth.append(Truth(*(x.astype("f4") for x in (seen[:-1], acted[:-1], reward[:-1, 0])), TERMINAL))
    with h5py.File(path, "w") as file:
        for name, array in {**{name: np.concatenate(each) for name, each in rows.items()}, **changes}.items():
            if array is not None:
                file[name] = array
    return truth
