"""Which way to act is proposed, from numbers that are given here."""

import pytest

from vgm2p.errors import DataError
from vgm2p.report.proposals import TOLERANCE, Looked, proposed, table

NAN = float("nan")


def ways(*numbers):
    """(way, error, likelihood) of one seed each."""
    return [Looked(way, [error], [likelihood], None) for way, error, likelihood in numbers]


@pytest.mark.parametrize(
    ("numbers", "way"),
    [
        ([(1.0, 0.50, 2.0), (0.5, 0.40, 2.0), (0.0, 0.30, 2.0)], 0.0),
        ([(1.0, 0.301, 2.0), (0.5, 0.302, 2.0), (0.0, 0.30, 2.0)], 1.0),  # nothing gained by less noise
        ([(1.0, 0.50, 2.0), (0.0, 0.30, 2.0 - 0.99 * TOLERANCE)], 0.0),
        ([(1.0, 0.50, 2.0), (0.0, 0.30, 2.0 - 1.01 * TOLERANCE)], 1.0),  # near, but not what was done together
        ([(0.0, 0.30, 1.0), ("shared", 0.9, 2.0)], "shared"),
        ([(None, 0.3, 1.0)], None),
        ([(1.0, NAN, 9.0), (0.5, 0.4, NAN), (0.0, 0.5, 1.0)], 0.0),
    ],
)
def test_the_nearest_way_of_those_that_do_what_was_done_together(numbers, way):
    assert proposed("a", ways(*numbers)).way == way


def test_seeds_that_diverged_do_not_count_and_a_policy_without_numbers_is_refused():
    looked = [Looked(1.0, [0.2, NAN], [1.0, NAN], {0: 5.0, 1: 7.0}), Looked(0.0, [0.3, 0.1], [1.0, 1.0], None)]
    assert [one.error for one in looked] == pytest.approx([0.2, 0.2])
    assert "| 6.00 " in table("a", looked, looked[0], discrete=False)
    with pytest.raises(DataError, match="a: the policy gives no numbers"):
        proposed("a", ways((1.0, NAN, NAN)))
    lost = ways((1.0, NAN, NAN), (0.0, 0.5, 1.0))
    assert "| diverged " in table("a", lost, lost[1], discrete=False)
