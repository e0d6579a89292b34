"""Pictures: every line has its own look and a name, losses have a logarithmic axis, axes begin at update 0."""

import itertools
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from tests.report.colours import contrast, distance
from vgm2p.report.curves import draw_diagnostic, draw_panel, draw_ways
from vgm2p.report.estimates import wilson
from vgm2p.report.evaluations import uneven
from vgm2p.report.learning import levels, shared_updates
from vgm2p.report.looks import COLOURS, DARK, DASHES, looks
from vgm2p.report.panels import PANELS
from vgm2p.report.runs import Run
from vgm2p.report.tables import best_way


@pytest.fixture
def axis():
    figure, found = plt.subplots()
    yield found
    plt.close(figure)


def legend(axis):
    return [text.get_text() for text in axis.get_legend().get_texts()]


@pytest.mark.parametrize("measure", ["return", "won"])
def test_every_way_to_act_has_a_point_with_its_interval(axis, measure):
    final = {"return": {1.0: {0: [1.0, 2.0]}, "mode": {0: [3.0, 3.0]}}}
    if measure == "won":
        final["won"] = {1.0: {0: [0.0, 1.0]}, "mode": {0: [1.0, 1.0]}}
    middle = {"return": [1.5, 3.0], "won": [0.5, 1.0]}[measure]
    draw_ways(axis, Run(Path(), {}, {}, "method", final=final), [1.0, "mode"])
    points, _, (bars,) = axis.containers[0]
    low, high = zip(*[(line[0, 1], line[1, 1]) for line in bars.get_segments()], strict=True)
    assert list(points.get_ydata()) == middle
    assert low[0] < middle[0] < high[0]
    assert (low[1], high[1]) == ((3.0, 3.0) if measure == "return" else pytest.approx(wilson(2, 2)))
    assert [label.get_text() for label in axis.get_xticklabels()] == ["1", "mode"]
    assert axis.get_title() == {"return": "return", "won": "win rate"}[measure] + " at the end (mean, 95 %)"
    assert axis.get_legend() is None  # its point would look like one of the policy


def test_curves_and_ways_to_act_say_that_a_seed_diverged(axis):
    final = {"return": {1.0: {0: [1.0], 1: [3.0]}, "mode": {0: [1.0], 1: [5.0]}}}
    lost = Run(Path(), {}, {"diverged_seeds": [1]}, "method", final=final, curve={0: {0: [0.0], 1: [0.0]}})
    draw_ways(axis, lost, [1.0, "mode"])
    assert axis.get_title() == "return at the end (mean, 95 %) (x: 1 diverged)"
    assert list(axis.containers[0][0].get_ydata()) == [2.0, 3.0]  # it counts, as in tables
    axis.clear()
    draw_panel(axis, "experiment", {"method": [lost]}, looks(["method"]))
    assert axis.get_lines()[0].get_label() == "method (x: 1 diverged)"


def test_no_two_methods_of_a_panel_look_alike_and_the_axis_begins_at_update_0(axis):
    results = {"dataset_return_mean": 1.0, "random_return_mean": 0.0}
    names = [f"method {i}" for i in range(len(COLOURS) * len(DASHES))]
    runs = {name: [Run(Path(), {}, results, name, curve={10: {0: [1.0, 2.0]}, 20: {0: [2.0]}})] for name in names}
    draw_panel(axis, "experiment", runs, looks(names))
    drawn = axis.get_lines()[: len(names)]
    seen = {(line.get_color(), str(line._dash_pattern), line.get_marker()) for line in drawn}
    assert [line.get_label() for line in axis.get_lines()] == [*names, "dataset mean", "random policy"]
    assert len(seen) == len(names)
    assert len({line.get_color() for line in drawn[: len(COLOURS)]}) == len(COLOURS)
    assert axis.get_xlim()[0] == 0


def test_a_curve_has_points_where_all_seeds_were_evaluated_and_levels_of_the_runs_that_know_them(axis):
    known = {"dataset_return_mean": 900.0, "random_return_mean": -41.0, "data_digest": "a"}
    often = Run(Path(), {}, {"data_digest": "a"}, "m", curve={0: {0: [0.0]}, 5: {0: [50.0]}, 10: {0: [10.0]}})
    seldom = Run(Path(), {}, known, "m", curve={0: {1: [2.0]}, 10: {1: [20.0]}})
    never = Run(Path(), {}, known, "m")
    draw_panel(axis, "experiment", {"m": [often, seldom, never]}, looks(["m"]))
    line, data, random = axis.get_lines()
    assert [*line.get_xdata()] == [0, 10] and [*line.get_ydata()] == [1.0, 15.0]
    assert not line.get_clip_on()  # the whole point at update 0 is seen
    assert (data.get_ydata()[0], random.get_ydata()[0]) == (900.0, -41.0)
    bottom, top = axis.get_ylim()
    assert bottom < -41 - 20 and top > 900 + 20
    other = Run(Path(), {}, {**known, "data_digest": "b"}, "other", curve={0: {0: [0.0]}})
    assert levels([often, other], False) == {"random policy": -41.0}  # two datasets have no common mean


def test_a_curve_ends_where_a_seed_has_no_episodes_any_more():
    run = {0: {0: [1.0], 1: [9.0]}, 5: {0: [1.0], 1: [9.0]}, 10: {0: [1.0]}}
    assert shared_updates([run, {0: {2: [3.0]}, 5: {2: [3.0]}, 10: {2: [3.0]}}, {}]) == [0, 5]


def test_the_best_way_is_one_that_the_most_seeds_have():
    def run(seed, **ways):
        final = {float(way.removeprefix("way")): {seed: values} for way, values in ways.items()}
        return Run(Path(), {}, {"experiment": "e", "act_noise": 1.0}, "m", final={"return": final})

    runs = [run(0, way1=[100.0]), run(1, way1=[200.0], way0=[190.0])]
    assert best_way(runs) == 1.0 and best_way(runs[1:]) == 1.0
    assert best_way([*runs[1:], run(2, way0=[300.0], way1=[1.0])]) == 0.0
    assert uneven(runs) == ["different evaluations: act_noise 0 of m in e has 1 of 2 seeds"]


def test_curves_of_an_environment_with_victories_show_the_win_rate(axis):
    results = {"dataset_won_mean": 0.5, "random_won_mean": 0.0, "random_return_mean": -3.0}
    run = Run(Path(), {}, results, "method", curve={0: {0: [1.0, 2.0]}}, wins={0: {0: [1, 0]}, 10: {0: [1, 1]}})
    draw_panel(axis, "battle", {"method": [run]}, looks(["method"]), won=True)
    method, dataset, random = axis.get_lines()
    assert list(method.get_ydata()) == [0.5, 1.0]
    assert (dataset.get_ydata()[0], random.get_ydata()[0]) == (0.5, 0.0)
    assert axis.get_ylabel().startswith("win rate")


@pytest.mark.parametrize(("palette", "ground"), [(COLOURS, "#FFFFFF"), (DARK, "#14171C")])
def test_colours_differ_for_colour_blind_readers_and_from_the_ground(palette, ground):
    assert len(palette) == 8
    assert min(distance(*pair) for pair in itertools.combinations(palette, 2)) > 12
    assert min(contrast(colour, ground) for colour in palette) > 2.2


def rows(columns, seeds=(0, 10)):
    return [
        {"update": str(update), "seed": str(seed), **{name: str(value * update) for name, value in columns.items()}}
        for update in (10, 20, 2000)
        for seed in seeds
    ]


def panel(first):
    return next(each for each in PANELS if each.first == first)


def test_a_loss_has_a_logarithmic_axis_unless_a_value_is_not_positive(axis):
    draw_diagnostic(axis, panel("critic_loss"), rows({"critic_loss": 0.1}))
    assert axis.get_yscale() == "log"
    assert axis.get_title() == "critic loss (log axis)"
    assert legend(axis) == ["seed 0", "seed 10"]
    assert axis.get_xlim()[0] == 0
    axis.figure.canvas.draw()
    assert not [text for text in axis.get_yticklabels() if "$" in text.get_text()]
    axis.clear()
    draw_diagnostic(axis, panel("policy_loss"), rows({"policy_loss": -0.1}))
    assert axis.get_yscale() == "linear"
    assert axis.get_title() == "policy loss"


@pytest.mark.parametrize(("highest", "lowest"), [(1.75, 0.667), (9.9, 5.1), (0.19, 0.13), (1e4, 1e-4)])
def test_a_logarithmic_axis_has_at_least_two_ticks_with_texts(axis, highest, lowest):
    each = rows({"policy_loss": 1.0}, [0])
    for row, loss in zip(each, (highest, (highest + lowest) / 2, lowest), strict=True):
        row["policy_loss"] = str(loss)
    draw_diagnostic(axis, panel("policy_loss"), each)
    axis.figure.canvas.draw()
    low, high = axis.get_ylim()
    texts = [label.get_text() for label in axis.get_yticklabels() if low <= label.get_position()[1] <= high]
    assert axis.get_yscale() == "log"
    assert len(set(filter(None, texts))) == len(texts) >= 2


def test_more_seeds_than_colours_are_thin_lines_of_one_colour_with_their_mean(axis):
    each = rows({"q_mean": 1.0, "q_fixed_point": 2.0, "c1_fraction": 1e-4, "c1_fraction_0": 1e-4}, range(12))
    for row in each:
        row["q_mean"] = "nan" if row["seed"] == "11" and row["update"] == "2000" else str(int(row["seed"]))
    draw_diagnostic(axis, panel("q_mean"), each)
    *thin, mean, fixed = axis.get_lines()
    assert len(thin) == 24
    assert {line.get_color() for line in (*thin[::2], mean)} == {COLOURS[0]}
    assert {line.get_color() for line in (*thin[1::2], fixed)} == {COLOURS[1]}
    assert max(line.get_linewidth() for line in thin) < mean.get_linewidth()
    assert ([*mean.get_xdata()], [*mean.get_ydata()]) == ([10, 20], [5.5, 5.5])  # seed 11 diverged before update 2000
    assert legend(axis) == ["12 seeds (thick: mean)", "mean Q", "fixed point of Q"]
    axis.clear()
    draw_diagnostic(axis, panel("c1_fraction"), each)
    assert len(axis.get_lines()) == 13  # single agents would look like seeds
    assert legend(axis) == ["12 seeds (thick: mean)"]


def test_every_kind_of_line_of_a_diagnostic_has_a_name(axis):
    draw_diagnostic(axis, panel("q_mean"), rows({"q_mean": 1.0, "q_fixed_point": 2.0}, [0]))
    assert legend(axis) == ["seed 0", "mean Q", "fixed point of Q"]
    axis.clear()
    draw_diagnostic(axis, panel("c1_fraction"), rows({"c1_fraction": 1e-4, "c1_fraction_0": 1e-4}, [0]))
    assert legend(axis) == ["seed 0", "all agents", "single agents"]
    assert axis.get_ylim() == (-0.03, 1.03)
