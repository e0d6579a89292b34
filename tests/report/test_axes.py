"""Axes of charts: ticks are round numbers within the axis, and their texts are distinct and true."""

import re

import pytest

from tests.report.finished_runs import write_run
from tests.report.paged_runs import EXPERIMENT, WAYS, change, loaded, row
from vgm2p.report.page.axes import Scale, scale_of, tick_text
from vgm2p.report.page.page import write_page
from vgm2p.run.folder import RunFolder

FACTORS = {"k": 1e3, "M": 1e6}


def texts(scale):
    ticks = scale.ticks(5)
    return [tick_text(tick, ticks) for tick in ticks]


@pytest.mark.parametrize(
    ("scale", "wanted"),
    [
        (Scale(-5e-4, 6e-4), "-5e-4 -2.5e-4 0 2.5e-4 5e-4"),
        (Scale(1.1e-4, 1.9e-4, log=True), "1.2e-4 1.4e-4 1.6e-4 1.8e-4"),
        (scale_of([3655.1, 3655.9]), "3655.2 3655.4 3655.6 3655.8"),
        (Scale(12_340.0, 12_344.0), "12340 12341 12342 12343 12344"),
        (Scale(1e-13, 9e-13), "2e-13 4e-13 6e-13 8e-13"),
        (Scale(0.0, 100_000.0), "0 20k 40k 60k 80k 100k"),
        (Scale(0.0, 3_000_000.0), "0 1M 2M 3M"),
        (Scale(0.0, 1.0), "0 0.2 0.4 0.6 0.8 1"),
        (scale_of([2e30, 3e30]), "2e30 2.25e30 2.5e30 2.75e30 3e30"),
    ],
)
def test_ticks_have_short_texts_with_the_digits_that_they_need(scale, wanted):
    assert texts(scale) == wanted.split()


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("size", [1e-45, 3e-13, 0.0004, 0.07, 9.0, 4321.0, 123_456.0, 7e6, 2e11])
@pytest.mark.parametrize("spread", [1e-8, 1e-5, 0.003, 0.4, 5.0, 1e4])
def test_texts_of_one_axis_are_distinct_and_true(size, spread, log):
    scale = scale_of([size, size * (1 + spread)], log)
    ticks = scale.ticks(5)
    shown = texts(scale)
    assert len(set(shown)) == len(ticks) >= 1
    step = min(abs(after - before) for after, before in zip(ticks[1:], ticks, strict=False)) if ticks[1:] else size
    for tick, text in zip(ticks, shown, strict=True):
        assert abs(float(text.rstrip("kM")) * FACTORS.get(text[-1], 1.0) - tick) <= 1e-3 * step


def test_the_ruler_of_a_table_has_fewer_ticks_if_their_texts_are_long(tmp_path):
    near = {"random_return_mean": 12_340.0, "random_return_ci95": [None, None], "dataset_return_ci95": [None, None]}
    for label, level in (("a", 12_340.0), ("b", 12_343.0)):
        write_run(tmp_path, EXPERIMENT, row(label), WAYS, lambda way, seed, episode, level=level: (level, ""))
        change(RunFolder(tmp_path / EXPERIMENT / label), {**near, "dataset_return_mean": level})
    write_page(loaded(tmp_path), tmp_path / "page.html")
    (ruler,) = re.findall(r'<svg class="ruler".*?</svg>', (tmp_path / "page.html").read_text())
    assert re.findall(r">([^<]+)</text>", ruler) == ["12340", "12342"]
