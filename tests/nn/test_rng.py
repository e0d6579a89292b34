"""Random numbers are a function of (seed, index, purpose). Large shapes have tables of few rows. No purpose twice."""

import hashlib

import pytest
import torch

from vgm2p.rng import EPISODE_TABLE, ROWS, TABLE, ActKey, StaticKey, UpdateKey, rows

LARGE = (2**20,)  # four rows per table
KEYS = [lambda: UpdateKey([3, 9]), lambda: StaticKey([3, 9], "cpu"), lambda: ActKey([3], 0, [0, 4])]


def digest(*tensors):
    content = b"".join(tensor.contiguous().numpy().tobytes() for tensor in tensors)
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def test_numbers_of_small_shapes_are_those_of_earlier_versions():
    key = UpdateKey([3, 9]).at(70)
    drawn = key.normal("a", (64, 3, 2)), key.uniform("b", (64, 3, 1)), key.integers("c", (64,), 1000)
    assert digest(*drawn) == "dd0b4d981119bc89"
    act = ActKey([3, 9], 500, [0, 4]).at(70)
    drawn = act.normal("a", (2, 3, 2)), act.uniform("b", (2, 3)), act.integers("c", (2,), 1000)
    assert digest(*drawn) == "006fe42ad3e87a5d"


@pytest.mark.parametrize("shape", [(), (64, 3, 2), (2**16,), (2**16 + 1,), (64, 24, 5, 87), (64, 24, 10, 162), (0, 4)])
@pytest.mark.parametrize("numbers", [TABLE, EPISODE_TABLE])
def test_a_table_has_64_rows_or_as_many_as_fit(shape, numbers):
    size = max(1, torch.Size(shape).numel())
    count = rows(shape, numbers)
    assert 1 <= count <= ROWS
    assert count == 1 or count * size <= numbers
    assert count == ROWS or (count + 1) * size > numbers


@pytest.mark.parametrize("kind", ["normal", "uniform", "fresh"])
def test_large_draws_depend_on_the_update_alone_and_differ_from_update_to_update(kind):
    key, met = UpdateKey([3, 9]), []
    for update in (0, 1, 3, 4, 5):
        met.append(getattr(key.at(update), kind)("a", LARGE).clone())
        assert met[-1].shape == (2, *LARGE)
    assert torch.equal(getattr(UpdateKey([9]).at(4), kind)("a", LARGE)[0], met[3][1])
    assert torch.equal(getattr(key.at(1), kind)("a", LARGE), met[1])
    assert len({float(numbers[s, 0]) for numbers in met for s in range(2)}) == 10
    if kind != "uniform":
        assert abs(met[0].mean()) < 0.01
        assert abs(met[0].std() - 1.0) < 0.01


def test_static_tables_of_every_number_of_rows_hold_the_numbers_of_the_key_at_fixed_addresses():
    free, static, places = UpdateKey([3, 4]), StaticKey([3, 4], "cpu"), []
    for update in (0, 1, 2, 3, 4, 5, 62, 64, 200, 1):
        free.at(update), static.at(update)
        for purpose, shape in {"small": (5,), "four rows": LARGE, "two rows": (2**21,)}.items():
            assert torch.equal(free.normal(purpose, shape), static.normal(purpose, shape))
        assert torch.equal(
            free.integers("two rows of integers", (2**21,), 9), static.integers("two rows of integers", (2**21,), 9)
        )
        assert torch.equal(free.fresh("fresh", (5,)), static.fresh("fresh", (5,)))
        places.append([tensor.data_ptr() for tensor in (*static._tables.values(), *static._positions.values())])
    assert all(place == places[0] for place in places)


def test_numbers_drawn_ahead_are_those_of_the_later_updates_however_few_rows_there_are():
    for shape, expected in (((5,), 7), (LARGE, 3), ((2**22,), 1)):
        key = UpdateKey([3, 4]).at(1)
        ahead = key.integers_ahead("batch", shape, 1000, most=7)
        assert ahead.shape == (expected, 2, *shape)
        for later in range(expected):
            assert torch.equal(ahead[later], key.at(1 + later).integers("batch", shape, 1000))


@pytest.mark.parametrize("make", KEYS)
def test_a_purpose_serves_one_draw_until_the_key_moves_on(make):
    key = make()
    for index in range(2):
        key.at(index)
        first = key.normal("eps", (2, 3))
        for again in (
            lambda: key.normal("eps", (2, 3)),
            lambda: key.normal("eps", (2, 4)),
            lambda: key.uniform("eps", (2, 3)),
            lambda: key.integers("eps", (2, 3), 5),
            lambda: key.fresh("eps", (2, 3)),
        ):
            with pytest.raises(ValueError, match=rf"'eps' were asked for twice in (update|step) {index}; give"):
                again()
        assert not torch.equal(first, key.normal("eps_2", (2, 3)))
    assert torch.equal(key.at(1).normal("eps", (2, 3)), first)


def test_drawing_ahead_counts_as_asking():
    key = UpdateKey([3])
    key.integers_ahead("batch", (4,), 9, most=5)
    with pytest.raises(ValueError, match="asked for twice"):
        key.integers("batch", (4,), 9)


def test_fresh_numbers_of_an_episode_do_not_depend_on_the_others():
    together, alone = ActKey([3, 4], 10, [0, 7, 2]).at(5), ActKey([4], 10, [7]).at(5)
    drawn = together.fresh("level 3", (3, 4, 2))
    assert drawn.shape == (2, 3, 4, 2)
    assert torch.equal(drawn[1, 1], alone.fresh("level 3", (1, 4, 2))[0, 0])
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn, together.at(6).fresh("level 3", (3, 4, 2)))
    assert torch.equal(drawn, together.at(5).fresh("level 3", (3, 4, 2)))
    assert not torch.equal(drawn, together.at(5).normal("level 3", (3, 4, 2)))


def test_a_key_keeps_a_table_of_what_it_draws_ahead_and_nothing_of_what_is_fresh():
    key = UpdateKey([0])
    for level in range(3):
        key.fresh(f"level {level}", LARGE)
    assert not key._drawn
    key.normal("eps", LARGE)
    assert [table.numel() for _, table in key._drawn.values()] == [TABLE]
