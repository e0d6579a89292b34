"""Charts of win rate and return over updates."""

from __future__ import annotations

from collections.abc import Sequence

from vgm2p.report.learning import levels, points, shared_updates, single_seeds
from vgm2p.report.page.axes import thinned
from vgm2p.report.page.charts import Chart, Drawn, Line
from vgm2p.report.runs import Run

TITLES = {"won": "Win rate", "return": "Return"}


def curve_charts(drawn: Drawn) -> list[Chart]:
    """Return the charts of one experiment: the win rate if the environment has victories, and the return."""
    runs = [run for group in drawn.methods.values() for run in group]
    charts = []
    for measure, title in TITLES.items():
        lines = []
        for method, group in drawn.methods.items():
            line = _line(group, measure == "won", method, drawn)
            lines += [] if line is None else [line]
        if lines:
            won = measure == "won"
            charts.append(Chart(f"{drawn.key}-{measure}", title, lines, levels(runs, won), share=won, wide=True))
    return charts


def _line(runs: Sequence[Run], won: bool, method: str, drawn: Drawn) -> Line | None:
    curves = [run.wins if won else run.curve for run in runs]
    updates = shared_updates(curves)
    if not updates:
        return None
    chosen = [updates[k] for k in thinned(len(updates), drawn.most)]
    x, y, low, high = zip(*points(curves, chosen, won), strict=True)
    seeds = [([u for u, _ in seed], [value for _, value in seed]) for seed in single_seeds(curves, chosen) if seed]
    return Line(drawn.places[method], method, drawn.styles[method], x, y, low, high, seeds if len(seeds) > 1 else ())
