"""Which data are held in memory, and which are mapped."""

import pytest
import torch

from tests.datamodules.datasets import CASES, write_to
from vgm2p.datamodules.layout.reading import read
from vgm2p.datamodules.store.budget import allowed, choose, parse
from vgm2p.datamodules.store.transitions import TransitionStore
from vgm2p.errors import ConfigError


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
