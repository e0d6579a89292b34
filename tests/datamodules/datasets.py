"""Small datasets of every kind that a file can hold."""

import numpy as np
import torch

from tests.support import small_columns
from vgm2p.datamodules.layout.episodes import first_rows
from vgm2p.datamodules.layout.schema import Columns
from vgm2p.datamodules.layout.writing import write
from vgm2p.datamodules.store.transitions import TransitionStore
from vgm2p.envs.observation import agents_view


def without_finals(columns: Columns) -> Columns:
    keep = columns.steps["has_action"].astype(bool)
    columns.steps = {name: array[keep] for name, array in columns.steps.items()}
    columns.episodes["rows"] = columns.episodes["length"].copy()
    columns.episodes["start"] = first_rows(columns.episodes["rows"])
    return columns


def store_of(tmp_path, columns, **options) -> TransitionStore:
    write(tmp_path / "x.h5", columns)
    return TransitionStore.load([tmp_path / "x.h5"], **options)


def discrete_columns() -> Columns:
    columns = small_columns()
    rng = np.random.default_rng(1)
    total = len(columns.steps["t"])
    legal = rng.random((total, 2, 3)) > 0.5
    legal[..., 1] = True
    scores = np.where(legal, rng.random(legal.shape), -1.0)
    acting = columns.steps["has_action"].astype(bool)[:, None]
    columns.steps["actions"] = np.where(acting, scores.argmax(-1), 0).astype(np.int16)
    columns.steps["legal_actions"] = legal.astype(np.uint8)
    columns.attributes |= {"discrete": 1, "action_dim": 3}
    return columns


LENGTHS = (40, 7, 5, 23, 60)


def omiga_columns() -> Columns:
    columns = small_columns(3, LENGTHS)
    robot = columns.steps.pop("robot_observation")
    columns.steps["observations"] = agents_view(torch.from_numpy(robot), 2, "omiga").numpy()
    columns.attributes["stored_view"] = "omiga"
    return without_finals(columns)


def native_columns() -> Columns:
    columns = discrete_columns()
    total = len(columns.steps["t"])
    columns.steps.pop("robot_observation")
    rng = np.random.default_rng(5)
    columns.steps["observations"] = rng.normal(size=(total, 2, 4)).astype(np.float32)
    columns.steps["state"] = rng.normal(size=(total, 6)).astype(np.float32)
    columns.steps["agent_rewards"] = rng.normal(size=(total, 2)).astype(np.float32)
    return columns


def state_per_agent() -> Columns:
    columns = native_columns()
    columns.steps["state"] = np.repeat(columns.steps["state"][:, None], 2, 1)
    return columns


ROBOT = lambda: small_columns(3, LENGTHS)  # noqa: E731


CASES = {
    "robot": (ROBOT, {}),
    "robot, omiga's view": (ROBOT, {"view": "omiga"}),
    "robot, omiga's view standardised": (ROBOT, {"view": "omiga", "obs_norm": "dataset"}),
    "robot, not standardised": (ROBOT, {"obs_norm": "none"}),
    "robot, drop": (ROBOT, {"timeouts": "drop"}),
    "robot, self": (ROBOT, {"timeouts": "self"}),
    "omiga's vectors": (omiga_columns, {"view": "omiga", "timeouts": "terminal"}),
    "omiga's vectors undone": (omiga_columns, {"view": "raw_onehot", "timeouts": "terminal"}),
    "discrete": (native_columns, {"view": "native"}),
    "discrete, standardised": (native_columns, {"view": "native", "obs_norm": "dataset"}),
    "state per agent": (state_per_agent, {"view": "native", "timeouts": "terminal"}),
}


def write_to(path, columns):
    write(path, columns)
    return path
