"""Pictures of several methods."""

from pathlib import Path

import matplotlib.pyplot as plt

from vgm2p.report.curves import COLOURS, draw_panel, draw_ways
from vgm2p.report.runs import Run


def test_every_way_to_act_has_a_point_with_its_interval():
    returns = {1.0: {0: [1.0, 2.0]}, "mode": {0: [3.0, 3.0]}}
    won = {1.0: {0: [0.0, 1.0]}, "mode": {0: [1.0, 1.0]}}
    for final, title, middle in (
        ({"return": returns}, "return", [1.5, 3.0]),
        ({"return": returns, "won": won}, "win rate", [0.5, 1.0]),
    ):
        figure, axis = plt.subplots()
        draw_ways(axis, Run(Path(), {}, {}, "method", final=final), [1.0, "mode"])
        points, _, (bars,) = axis.containers[0]
        low, high = zip(*[(line[0, 1], line[1, 1]) for line in bars.get_segments()], strict=True)
        assert list(points.get_ydata()) == middle
        assert low[0] < middle[0] < high[0]
        assert (low[1], high[1]) == (middle[1], middle[1])
        assert [label.get_text() for label in axis.get_xticklabels()] == ["1", "mode"]
        assert axis.get_title().startswith(title)
        plt.close(figure)


def test_no_two_methods_of_a_panel_look_alike():
    results = {"dataset_return_mean": 1.0, "random_return_mean": 0.0}
    names = [f"method {i}" for i in range(2 * len(COLOURS) + 1)]
    runs = {name: [Run(Path(), {}, results, name, curve={10: {0: [1.0, 2.0]}, 20: {0: [2.0]}})] for name in names}
    figure, axis = plt.subplots()
    draw_panel(axis, "experiment", runs)
    looks = {(line.get_color(), line.get_linestyle(), line.get_marker()) for line in axis.get_lines()[: len(names)]}
    assert [line.get_label() for line in axis.get_lines()[: len(names)]] == names
    assert len(looks) == len(names)
    plt.close(figure)
