"""Blocks of updates, and the set that ships with the package."""

import dataclasses

import pytest

from vgm2p.datamodules.offline import Blocks
from vgm2p.datamodules.sources.recorded import Bundled
from vgm2p.datamodules.store.transitions import TransitionStore


@pytest.mark.parametrize("block", [1, 7, 50, 200])
@pytest.mark.parametrize("start", [0, 3, 50, 99])
def test_blocks_cover_what_is_missing_and_end_at_every_interval(block, start):
    blocks = list(Blocks(start, 100, block, [20, 33]))
    assert [u for first, last in blocks for u in range(first, last)] == list(range(start, 100))
    edges = {last for _, last in blocks}
    assert {e for e in (20, 33, 40, 60, 66, 80, 99, 100) if e > start} <= edges
    assert all(last - first <= block for first, last in blocks)


def test_the_bundled_set_loads_as_documented():
    store = TransitionStore.load(Bundled().resolve())
    assert (store.summary["episodes"], store.summary["transitions"]) == (50, 50_000)
    assert store.spec.env_id == "HalfCheetah-v5"
    assert dataclasses.astuple(store.spec)[:4] == (6, 23, 1, False)
