"""Charts of win rate and return over updates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vgm2p.report.learning import levels, points, shared_updates, single_seeds
from vgm2p.report.looks import Look
from vgm2p.report.page.axes import thinned
from vgm2p.report.page.charts import Chart, Line
from vgm2p.report.runs import Run

TITLES = {"won": "Win rate", "return": "Return"}


def curve_charts(
    key: str, methods: Mapping[str, Sequence[Run]], styles: Mapping[str, Look], places: Mapping[str, int], most: int
) -> list[Chart]:
    """Return the charts of one experiment: the win rate if the environment has victories, and the return.

    Args:
        key: beginning of the charts' names.
        methods: name -> runs.
        styles: name -> look.
        places: name -> number of the method on the page.
        most: largest number of points of a line.
    """
    runs = [run for group in methods.values() for run in group]
    charts = []
    for measure, title in TITLES.items():
        lines = []
        for method, group in methods.items():
            line = _line(group, measure == "won", method, styles[method], places[method], most)
            lines += [] if line is None else [line]
        if lines:
            won = measure == "won"
            charts.append(Chart(f"{key}-{measure}", title, lines, levels(runs, won), share=won, wide=True))
    return charts


def _line(runs: Sequence[Run], won: bool, method: str, look: Look, place: int, most: int) -> Line | None:
    curves = [run.wins if won else run.curve for run in runs]
    updates = shared_updates(curves)
    if not updates:
        return None
    chosen = [updates[k] for k in thinned(len(updates), most)]
    x, y, low, high = zip(*points(curves, chosen, won), strict=True)
    seeds = [([u for u, _ in seed], [value for _, value in seed]) for seed in single_seeds(curves, chosen) if seed]
    return Line(place, method, look, x, y, low, high, seeds if len(seeds) > 1 else ())
