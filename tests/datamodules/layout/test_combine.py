"""Datasets made of datasets: joined, or some episodes chosen."""

import numpy as np
import pytest
import torch

from tests.datamodules.datasets import store_of
from tests.support import RECORDED, small_columns
from vgm2p.datamodules.layout.combine import concatenate
from vgm2p.datamodules.layout.writing import write
from vgm2p.datamodules.sources.recorded import Recorded
from vgm2p.datamodules.store.transitions import TransitionStore
from vgm2p.errors import ConfigError, DataError
from vgm2p.rng import UpdateKey


def test_medium_expert_is_medium_then_expert(tmp_path):
    source = Recorded(str(RECORDED), ["hopper-medium", "hopper-expert"], str(tmp_path))
    paths = source.resolve()
    both = TransitionStore.load(paths)
    medium, expert = (TransitionStore.load([path]) for path in paths)
    assert both.returns == medium.returns + expert.returns
    assert both.summary["transitions"] == medium.summary["transitions"] + expert.summary["transitions"]
    n, offset = len(medium.table), len(medium.rows.columns["observation"])
    assert torch.equal(both.table.columns["rows"][:n], medium.table.columns["rows"])
    assert torch.equal(both.table.columns["rows"][n:], expert.table.columns["rows"] + offset)
    assert both.summary["digest"] not in (medium.summary["digest"], expert.summary["digest"])


def test_different_tasks_are_not_mixed(tmp_path):
    other = small_columns()
    other.attributes["env_id"] = "other"
    for name, columns in (("a", small_columns()), ("b", other)):
        write(tmp_path / f"{name}.h5", columns)
    with pytest.raises(DataError, match="env_id"):
        TransitionStore.load([tmp_path / "a.h5", tmp_path / "b.h5"])


def test_best_episodes_are_those_with_the_highest_return(tmp_path):
    store = store_of(tmp_path, small_columns())
    best = store.best_episodes(1 / 3)
    assert best.returns == [max(store.returns)]
    assert best.summary["digest"] != store.summary["digest"]
    batch = best.draw(UpdateKey([0]).at(0), 40)
    e = int(np.argmax(store.returns))
    episode = small_columns().episodes
    rewards = small_columns().steps["rewards"][episode["start"][e] : episode["start"][e] + episode["length"][e]]
    assert set(batch.reward[0].tolist()) == set(rewards.tolist())


@pytest.mark.parametrize("share", [0.0, 1.5, -0.1])
def test_a_share_of_episodes_lies_between_none_and_all(share, tmp_path):
    with pytest.raises(ConfigError, match="best_share"):
        store_of(tmp_path, small_columns()).best_episodes(share)


def test_concatenation_keeps_the_numbers_of_its_parts():
    parts = [small_columns(0), small_columns(1, lengths=(3, 2))]
    for part in parts:
        part.attributes["content_sha256"] = "x"
    whole = concatenate(parts)
    assert whole.episodes["start"].tolist() == [0, 5, 13, 19, 23]
    np.testing.assert_array_equal(whole.steps["rewards"][19:], parts[1].steps["rewards"])
