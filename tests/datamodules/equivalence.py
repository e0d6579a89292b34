"""Every kind of data twice: in memory, and mapped from flat files; both must draw the same bits."""

import numpy as np
import torch

from tests.datamodules.test_store import discrete_columns, without_finals
from tests.support import small_columns
from vgm2p.datamodules.layout.schema import Columns, write
from vgm2p.datamodules.store.transitions import TransitionStore
from vgm2p.envs.observation import agents_view
from vgm2p.rng import UpdateKey
from vgm2p.types import Needs

FIELDS = ("next_action", "state", "next_state", "return_to_go", "episode_rank")
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


def both(tmp_path, files, verify="never", **options) -> tuple[TransitionStore, TransitionStore]:
    options = {"view": "raw_onehot", "obs_norm": "auto", "timeouts": "bootstrap", "verify": verify, **options}
    paths = []
    for i, columns in enumerate(files):
        paths.append(tmp_path / f"{i}.h5")
        if columns is not None:
            write(paths[-1], columns)
    return TransitionStore.load(paths, **options), TransitionStore.map(paths, tmp_path / "cache", **options)


def assert_same(one: TransitionStore, two: TransitionStore, batch=33, history=3, ahead=0):
    for field in ("spec", "returns"):
        assert getattr(one, field) == getattr(two, field)
    assert {**one.summary, "bytes": 0} == {**two.summary, "bytes": 0}
    surveys = one.survey(0.0), two.survey(0.0)
    assert all(torch.equal(*(getattr(survey, name) for survey in surveys)) for name in ("mean", "std"))
    fields = tuple(name for name in FIELDS if one.spec.state_dim is not None or "state" not in name)
    needs = Needs(frozenset(fields), history, ahead)
    for store in (one, two):
        store.provide(needs, 0.9)
    key, other = UpdateKey([3, 4]), UpdateKey([3, 4])
    for update in (0, 1, 2, 63, 64, 65, 3, 4, 700, 701):
        drawn = vars(one.draw(key.at(update), batch, needs)), vars(two.draw(other.at(update), batch, needs))
        for name, value in drawn[0].items():
            found = drawn[1][name]
            assert value is found is None or (torch.equal(value, found) and value.dtype == found.dtype), name
    two.close()
