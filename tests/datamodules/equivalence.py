"""Every kind of data twice: in memory, and mapped from flat files; both must draw the same bits."""

import torch

from vgm2p.datamodules.layout.writing import write
from vgm2p.datamodules.store.transitions import TransitionStore
from vgm2p.rng import UpdateKey
from vgm2p.types import Needs

FIELDS = ("next_action", "state", "next_state", "return_to_go", "return_seen", "episode_rank")


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
