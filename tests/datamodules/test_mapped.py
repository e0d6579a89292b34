"""Data mapped from flat files against the same data in memory: the same bits, made ahead by threads; which is chosen."""

import pytest
import torch

from tests.datamodules.equivalence import CASES, LENGTHS, assert_same, both, write_to
from tests.support import small_columns
from vgm2p.datamodules.layout.schema import read
from vgm2p.datamodules.store.budget import allowed, choose, parse
from vgm2p.datamodules.store.prefetch import DEPTH, Prefetcher
from vgm2p.datamodules.store.transitions import TransitionStore
from vgm2p.errors import ConfigError, DataError
from vgm2p.rng import StaticKey, UpdateKey
from vgm2p.types import Batch


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


def spans(made, span):
    """Return a function that makes the spans of a prefetcher, each batch its update's number; starts go to `made`."""

    def make(start):
        made.append(start)
        updates = torch.arange(start, start + span).float()
        return Batch(*[updates] * 6)

    return make


@pytest.mark.parametrize("threads", [0, 2])
@pytest.mark.parametrize("span", [1, 3, 8])
def test_batches_come_in_order_and_few_are_made_ahead(span, threads):
    made = []
    prefetcher = Prefetcher(spans(made, span), span, threads)
    for update in (*range(5, 40), *range(20, 30)):
        assert prefetcher.take(update).obs == update
        assert max(made) <= max(update, 39) + (DEPTH if threads else 0) * span
    prefetcher.close()
    assert threads or made == [*range(5 // span * span, 40, span), *range(20 // span * span, 30, span)]


@pytest.mark.parametrize("threads", [0, 2])
def test_what_goes_wrong_where_a_batch_is_made_is_raised_where_it_is_asked_for(threads):
    def broken(start):
        if start == 4:
            raise OSError(5, "Input/output error", "flat")
        return spans([], 2)(start)

    prefetcher = Prefetcher(broken, 2, threads)
    assert [prefetcher.take(update).obs.item() for update in range(4)] == [0, 1, 2, 3]
    for update in (4, 5):
        with pytest.raises(OSError, match="Input/output"):
            prefetcher.take(update)
    prefetcher.close()


def test_sizes_are_understood_or_refused():
    assert [parse(size) for size in (7, "7", "4GiB", "500 MB", "1.5kB", "2g", "1e9")] == [
        7,
        7,
        4 << 30,
        500_000_000,
        1500,
        2 * 10**9,
        10**9,
    ]
    for size in ("much", "4 gigs", "-1", "", "GiB", "nan"):
        with pytest.raises(ConfigError, match="max_resident"):
            parse(size)


def test_the_choice_counts_what_is_held(tmp_path):
    for i, (make, options) in enumerate(CASES.values()):
        path = write_to(tmp_path / f"{i}.h5", make())
        view = options.get("view", "raw_onehot")
        dataset = read(path)
        store = TransitionStore.hold(dataset, **{"obs_norm": "auto", "timeouts": "bootstrap", **options, "view": view})
        raw = sum(array.nbytes for array in dataset.steps.values())
        need = int(choose([path], view, "1GB", torch.device("cpu")).resident)
        assert need == 1
        tensors = (store.rows.columns | store.table.columns).values()
        held = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
        arrays = {a.__array_interface__["data"][0] for a in dataset.steps.values()}
        total = raw + sum(size for address, size in held.items() if address not in arrays)
        low, high = (choose([path], view, int(total * share), torch.device("cpu")) for share in (0.7, 1.3))
        assert (low.resident, high.resident) == (False, True), (low.line, high.line, total)
        assert "data.max_resident" in low.line
    limit, why = allowed("auto", torch.device("cpu"))
    assert 0 < limit < 10**15
    assert why == "half of free memory"
