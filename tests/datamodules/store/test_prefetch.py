"""Batches made ahead: in order, few at a time, and errors where the batch is asked for."""

import pytest
import torch

from vgm2p.datamodules.store.prefetch import DEPTH, Prefetcher
from vgm2p.types import Batch


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
