"""The picture of docs/results.md about robots: the mean return of every row, with its interval, on every dataset."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from tools.results.robots import GROUPS, MAIN, PLUS
from vgm2p.io.files import written_aside
from vgm2p.report.estimates import interval, mean
from vgm2p.report.looks import COLOURS
from vgm2p.report.runs import Run, final_values
from vgm2p.report.tables import best_way

COLUMNS = 4


def draw(found: Mapping[str, Mapping[str, Run]], path: Path) -> None:
    """Draw a panel per dataset (name -> label -> run), with a line per row; groups of rows have colours."""
    groups = {PLUS.label: [PLUS], **GROUPS}
    colour = {row.label: COLOURS[i] for i, rows in enumerate(groups.values()) for row in rows}
    shown = {name: runs for name, runs in found.items() if runs}
    drawn = [row.label for row in MAIN if any(row.label in runs for runs in shown.values())]
    place = {label: len(drawn) - i for i, label in enumerate(drawn)}
    lines = -(-len(shown) // COLUMNS)
    figure = Figure(figsize=(3.6 * COLUMNS, 6.2 * lines), layout="constrained")
    axes = list(figure.subplots(lines, COLUMNS, sharey=True, squeeze=False).flat)
    for axis, (name, runs) in zip(axes, shown.items(), strict=False):
        for label, run in runs.items():
            values = final_values([run], run.results["act_noise"])
            axis.plot(interval(values), [place[label]] * 2, color=colour[label], linewidth=2)
            axis.plot(mean(values), place[label], "o", color=colour[label], markersize=5)
            best = mean(final_values([run], best_way([run])))
            axis.plot(best, place[label], "o", color=colour[label], markersize=7, fillstyle="none", linewidth=1)
        axis.axvline(next(iter(runs.values())).results["dataset_return_mean"], color="0.5", linestyle="--", linewidth=1)
        axis.set_title(name.removeprefix("recorded_"), fontsize=10)
        axis.set_yticks(list(place.values()), list(place), fontsize=8)
        axis.grid(axis="x", alpha=0.3)
        axis.set_xlabel("return")
    for axis in axes[len(shown) :]:
        axis.set_visible(False)
    with written_aside(path) as aside:
        figure.savefig(aside, format="png", dpi=110)
