"""Data mapped from flat files against the same data in memory: the same bits, made ahead by threads; which is chosen."""

import pytest
import torch

from tests.datamodules.datasets import CASES, LENGTHS, write_to
from tests.datamodules.equivalence import assert_same, both
from tests.support import small_columns
from vgm2p.datamodules.store.transitions import TransitionStore
from vgm2p.errors import DataError
from vgm2p.rng import StaticKey, UpdateKey


@pytest.mark.parametrize("name", CASES)
def test_every_kind_of_data_is_drawn_with_the_same_bits(name, tmp_path):
    make, options = CASES[name]
    resident, mapped = both(tmp_path, [make()], **options)
    assert (resident.resident, mapped.resident) == (True, False)
    assert_same(resident, mapped)


@pytest.mark.parametrize("name", CASES)
def test_the_best_episodes_are_drawn_with_the_same_bits(name, tmp_path):
    make, options = CASES[name]
    resident, mapped = both(tmp_path, [make()], **options)
    assert_same(resident.best_episodes(0.5), mapped.best_episodes(0.5))


@pytest.mark.parametrize("name", CASES)
def test_draws_by_return_have_the_same_bits(name, tmp_path):
    make, options = CASES[name]
    stores = both(tmp_path, [make()], **options)
    for store in stores:
        store.draw_by_return(0.6)
    assert_same(*stores)


def test_several_files_are_mapped_as_one(tmp_path):
    assert_same(*both(tmp_path, [small_columns(0), small_columns(1, LENGTHS), small_columns(2)]))
    other = small_columns()
    other.attributes["env_id"] = "other"
    with pytest.raises(DataError, match="env_id"):
        TransitionStore.map(
            [write_to(tmp_path / "a.h5", small_columns()), write_to(tmp_path / "b.h5", other)],
            tmp_path,
            "raw_onehot",
            "auto",
            "bootstrap",
            "never",
        )


def test_other_batches_and_other_keys_begin_anew(tmp_path):
    resident, mapped = both(tmp_path, [small_columns()])
    key = UpdateKey([0])
    for update, batch in ((0, 8), (1, 9), (2, 8)):
        assert torch.equal(resident.draw(key.at(update), batch).obs, mapped.draw(key.at(update), batch).obs)
    static = StaticKey([0], "cpu")
    assert torch.equal(resident.draw(static.at(5), 8).obs, mapped.draw(static.at(5), 8).obs)
    mapped.close()
