"""Learning curves of several runs, and the plot of one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure  # not pyplot: it would change the backend of a program that calls us
from matplotlib.lines import Line2D
from matplotlib.ticker import AutoLocator, FuncFormatter, LogLocator, NullFormatter

from vgm2p.io.files import written_aside
from vgm2p.io.text import warn_once
from vgm2p.report.estimates import interval, mean, rate_interval
from vgm2p.report.learning import Curve, levels, points, shared_updates
from vgm2p.report.looks import COLOURS, DASHES, MARKERS, Look, looks
from vgm2p.report.panels import Panel, panels_of
from vgm2p.report.runs import Run, final_values, load_run, pooled, ways_of
from vgm2p.run.folder import RunFolder
from vgm2p.run.ways import Way, way_text

NAMES: dict[Any, Any] = {"text.parse_math": False}  # a name from a file is text, also between dollar signs
COLUMNS = 4
SMALL = 9.5  # size of a title that is long
TALLEST = 18  # names in a column of a legend beside a panel
LINES = ((0, (6, 3)), ":")  # of the levels of dataset and random policy
STROKES: tuple[Literal["-", "--"], ...] = ("-", "--")  # of the columns of a diagnostic
THIN: dict[str, Any] = {"linewidth": 0.5, "alpha": 0.5}
Rows = list[dict[str, str]]  # of metrics.csv


@rc_context(NAMES)
def curves(runs: Sequence[Run], path: Path) -> None:
    """Draw the mean return over updates of every method, with 95 % bands, in one panel per experiment.

    If the environment has victories, a panel of the win rate comes before. A method has the same colour, line and
    marker in all panels.
    """
    groups = pooled(runs)
    styles = looks(method for _, method in groups)
    panels = [
        (experiment, won)
        for experiment in dict.fromkeys(experiment for experiment, _ in groups)
        for won in (True, False)
        if not won or any(run.wins for run in runs if run.key[0] == experiment)
    ]
    figure = Figure(figsize=(8, 4.2 * len(panels)))
    axes = figure.subplots(len(panels), 1, squeeze=False)
    figure.subplots_adjust(hspace=0.35)
    for axis, (experiment, won) in zip(axes[:, 0], panels, strict=True):
        methods = {method: group for (there, method), group in groups.items() if there == experiment}
        draw_panel(axis, experiment, methods, styles, won)
        columns = -(-len(axis.get_lines()) // TALLEST)
        axis.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, ncols=columns)
    _save(figure, path)


def draw_panel(
    axis: Any, title: str, methods: Mapping[str, Sequence[Run]], styles: Mapping[str, Look], won: bool = False
) -> None:
    """Draw the curve of every method (name -> its runs), and the levels of dataset and random policy.

    The curves are those of the win rate if `won`, else those of the return.
    """
    for method, group in methods.items():
        look, curves = styles[method], [run.wins if won else run.curve for run in group]
        found = points(curves, shared_updates(curves), won)
        if not found:
            continue
        updates, middle, low, high = zip(*found, strict=True)
        axis.plot(updates, middle, label=_label(method, group), clip_on=False, **_drawn(look))
        axis.fill_between(updates, low, high, color=COLOURS[look.colour], alpha=0.18, linewidth=0)
    runs = [run for group in methods.values() for run in group]
    for (name, value), line in zip(levels(runs, won).items(), LINES, strict=False):
        axis.axhline(value, color="0.45", linestyle=line, linewidth=1.2, label=name)
    axis.autoscale_view(scalex=False)  # with a margin at the outermost level, too
    axis.set_title(title)
    axis.set_xlabel("updates")
    axis.set_ylabel(f"{'win rate' if won else 'return'} (mean, 95 % interval)")
    axis.set_xlim(left=0)
    axis.grid(alpha=0.25)


def _drawn(look: Look) -> dict[str, Any]:
    """Return a look in the words of matplotlib."""
    dashes = DASHES[look.style]
    line = (0, dashes) if dashes else "-"
    return {"color": COLOURS[look.colour], "linestyle": line, "marker": MARKERS[look.style], "markersize": 4}


def _label(text: str, group: Sequence[Run]) -> str:
    """Return a text such as the name of a method, with the number of the seeds that diverged."""
    lost = sum(len(run.diverged) for run in group)
    return f"{text} (x: {lost} diverged)" if lost else text


@rc_context(NAMES)
def run_plot(folder: Path) -> Path:
    """Draw `plots/learning.png` of one run, with its return and its training diagnostics. Return the path."""
    place = RunFolder(folder)
    log = place.log_metrics()
    metrics = [] if log.too_large else log.rows()
    if log.too_large:
        warn_once(f"{log.path} is too large for a picture of its diagnostics; a larger log_every gives fewer rows")
    present = panels_of(metrics[0]) if metrics else []
    run = load_run(folder) if "return_mean" in place.read_results() else None
    ways = ways_of([run]) if run else []
    count = len(present) + (run is not None) + (len(ways) > 1)
    path = place.plots / "learning.png"
    if not count:
        return path
    rows, width = -(-count // COLUMNS), min(count, COLUMNS)
    figure = Figure(figsize=(4.2 * max(2, width), 3.8 * rows))
    axes = figure.subplots(rows, width, squeeze=False)
    figure.subplots_adjust(hspace=0.4, wspace=0.28)
    free = list(axes.flat)
    for axis in free[count:]:
        axis.axis("off")
    if run:
        figure.suptitle(f"{run.key[0]}, {run.key[1]}", y=0.9 + 0.12 / rows)
        draw_panel(free[0], "return", {run.key[1]: [run]}, looks([run.key[1]]))
        free.pop(0).legend(loc="best", frameon=False, fontsize=8)
    if run and len(ways) > 1:
        draw_ways(free.pop(0), run, ways)
    for axis, panel in zip(free, present, strict=False):
        draw_diagnostic(axis, panel, metrics)
    _save(figure, path)
    return path


def draw_ways(axis: Any, run: Run, ways: Sequence[Way]) -> None:
    """Draw the final win rate, or else the final return, in every way to act, with its 95 % interval.

    A seed that diverged counts, as in curves and tables: the title says how many there are.
    """
    measure = "won" if run.final.get("won") else "return"
    values = [final_values([run], way, measure) for way in ways]
    middle = [mean(found) for found in values]
    around = rate_interval if measure == "won" else interval
    bounds = np.array([around(found) for found in values]).T
    axis.errorbar(range(len(ways)), middle, np.abs(bounds - middle), fmt="o", color=COLOURS[0], capsize=3)
    axis.set_xticks(range(len(ways)), [way_text(way) for way in ways])
    axis.set_xlim(-0.5, len(ways) - 0.5)
    axis.set_xlabel("way to act (a number: scale of the noise)")
    title = f"{'win rate' if measure == 'won' else 'return'} at the end (mean, 95 %)"
    axis.set_title(_label(title, [run]), fontsize=SMALL)
    axis.grid(alpha=0.25)


def draw_diagnostic(axis: Any, panel: Panel, metrics: Rows) -> None:
    """Draw the columns of a panel: a line style per column, thin lines for single agents.

    There is a colour per seed. Of more seeds than `COLOURS`, all lines are thin, each column has a colour, and a thick
    line is the mean over the seeds; single agents are left out.
    """
    seeds = sorted({row["seed"] for row in metrics}, key=int)
    styles, shown, many = looks(seeds), [], len(seeds) > len(COLOURS)
    agents = [name for name in metrics[0] if panel.agents and name.startswith(panel.agents) and not many]
    columns = [name for name in panel.columns if name in metrics[0]]
    for seed in seeds:
        mine = [row for row in metrics if row["seed"] == seed]
        updates, look = [int(row["update"]) for row in mine], styles[seed]
        for name in agents:
            axis.plot(updates, _numbers(mine, name), color=COLOURS[look.colour], **THIN)
        for place, (name, line) in enumerate(zip(columns, STROKES, strict=False)):
            values = _numbers(mine, name)
            shown += [value for value in values if np.isfinite(value)]
            drawn = {"color": COLOURS[place], **THIN} if many else {"color": COLOURS[look.colour], "linewidth": 1.3}
            axis.plot(updates, values, line, **drawn)
    for place, (name, line) in enumerate(zip(columns if many else (), STROKES, strict=False)):
        axis.plot(*_mean_line(metrics, name), line, color=COLOURS[place], linewidth=2)
    log = bool(shown) and panel.logarithmic(shown)
    axis.set_title(panel.title + (" (log axis)" if log else ""), fontsize=SMALL)
    axis.set_xlabel("updates")
    axis.grid(alpha=0.25, which="both" if log else "major")
    axis.set_xlim(left=0)
    if log:
        _set_log(axis, max(shown) / min(shown))
    if panel.kind == "share":
        axis.set_ylim(-0.03, 1.03)
    legend = _legend_of_many(panel, columns, len(seeds)) if many else _legend(panel, columns, seeds, bool(agents))
    axis.legend(handles=legend, loc="best", frameon=False, fontsize=8)


def _mean_line(metrics: Rows, name: str) -> tuple[list[int], list[float]]:
    """Return the updates at which all seeds have a finite number, and the means. Seeds without any do not count."""
    found: Curve = {}
    for row, value in zip(metrics, _numbers(metrics, name), strict=True):
        if np.isfinite(value):
            found.setdefault(int(row["update"]), {})[int(row["seed"])] = [value]
    updates = shared_updates([found])
    return updates, [mean(list(found[update].values())) for update in updates]


def _set_log(axis: Any, spread: float) -> None:
    """Make the y axis logarithmic, for values whose largest is `spread` times the smallest."""
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 4, 6) if spread < 9 else (1, 2, 5) if spread < 99 else (1,)))
    low, high = axis.get_ylim()
    if sum(low <= tick <= high for tick in axis.get_yticks()) < 2:
        axis.yaxis.set_major_locator(AutoLocator())  # round numbers, as no two powers or simple multiples fit
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.10g}"))  # the usual one parses as math
    axis.yaxis.set_minor_formatter(NullFormatter())


def _numbers(rows: Rows, name: str) -> list[float]:
    return [float(row[name]) for row in rows]


def _legend(panel: Panel, columns: Sequence[str], seeds: Sequence[str], agents: bool) -> list[Line2D]:
    """Return an entry per seed, per column if there are several, and one for single agents."""
    entries = [Line2D([], [], color=COLOURS[look.colour], label=f"seed {seed}") for seed, look in looks(seeds).items()]
    if len(columns) > 1 or agents:
        grey: list[dict[str, Any]] = [{"color": "0.4", "linestyle": line} for line in STROKES]
        entries += [
            Line2D([], [], label=panel.columns[name], **line) for name, line in zip(columns, grey, strict=False)
        ]
    if agents:
        entries.append(Line2D([], [], color="0.4", linewidth=0.5, label="single agents"))
    return entries


def _legend_of_many(panel: Panel, columns: Sequence[str], seeds: int) -> list[Line2D]:
    """Return an entry for all seeds, and one per column if there are several."""
    entries = [Line2D([], [], color="0.4", label=f"{seeds} seeds (thick: mean)", **THIN)]
    for place, (name, line) in enumerate(zip(columns if len(columns) > 1 else (), STROKES, strict=False)):
        entries.append(Line2D([], [], color=COLOURS[place], linestyle=line, label=panel.columns[name]))
    return entries


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_aside(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130, bbox_inches="tight", metadata={"Software": None})
