"""Pictures of several methods."""

from pathlib import Path

import matplotlib.pyplot as plt

from vgm2p.report.curves import COLOURS, draw_panel
from vgm2p.report.runs import Run


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
