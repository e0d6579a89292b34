"""Charts of training diagnostics: the mean over the seeds of every method, with the range of its seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence

from vgm2p.errors import UserError
from vgm2p.report.page.axes import LARGEST, thinned
from vgm2p.report.page.charts import Chart, Drawn, Line
from vgm2p.report.panels import PANELS, Panel
from vgm2p.report.runs import Run
from vgm2p.run.folder import RunFolder

Table = dict[str, dict[int, list[float]]]  # column -> update -> numbers of the seeds


def diagnostic_charts(drawn: Drawn) -> tuple[list[Chart], list[str]]:
    """Return the charts of one experiment, and a line for every metrics.csv that cannot be read."""
    tables, notices = {}, []
    for name, group in drawn.methods.items():
        tables[name], lost = _table(group)
        notices += lost
    charts = []
    for panel in PANELS:
        lines = [line for name, table in tables.items() if (line := _line(panel, table, name, drawn)) is not None]
        charts += _charts(drawn.key, panel, lines)
    return charts, notices


def _charts(key: str, panel: Panel, lines: Sequence[Line]) -> list[Chart]:
    """Return the chart of a panel; two if some losses have values below 0, which a logarithmic axis cannot show."""
    others = [label for column, label in panel.columns.items() if column != panel.first]
    note = f"thin: {others[0]}" if others and any(line.second for line in lines) else ""
    log = [line for line in lines if panel.logarithmic([*line.y, *line.low])]
    charts = []
    for suffix, part in (("", log), (" (values below 0)" if log else "", [line for line in lines if line not in log])):
        if part:
            name, share = f"{key}-{panel.first}{'-below-0' if suffix else ''}", panel.kind == "share"
            charts.append(Chart(name, panel.title + suffix, part, log=part is log, share=share, note=note))
    return charts


def _table(runs: Sequence[Run]) -> tuple[Table, list[str]]:
    """Return the finite numbers of the drawn columns, and a line for every file that is left out."""
    found: Table = {}
    notices = []
    wanted = [column for panel in PANELS for column in panel.columns]
    for run in runs:
        log = RunFolder(run.folder).log_metrics()
        try:
            if log.too_large:
                notices.append(f"{log.path} is too large for charts of its diagnostics")
                continue
            rows = [row for row in log.rows() if int(row["seed"]) not in run.left_out]
            for column in wanted if rows else ():
                for row in rows if column in rows[0] else ():
                    number = float(row[column]) if row[column] else math.nan
                    if abs(number) < LARGEST:
                        found.setdefault(column, {}).setdefault(int(row["update"]), []).append(number)
        except UserError as error:
            notices.append(f"no diagnostics of {run.folder}: {error.line}")
        except (KeyError, ValueError):
            notices.append(f"no diagnostics of {run.folder}: a cell of metrics.csv is missing, or no number")
    return found, notices


def _line(panel: Panel, table: Table, name: str, drawn: Drawn) -> Line | None:
    first = table.get(panel.first)
    if not first:
        return None
    updates = sorted(first)
    updates = [updates[k] for k in thinned(len(updates), drawn.most)]
    several = any(len(first[update]) > 1 for update in updates)
    second = []
    for column in panel.columns:
        other = table.get(column, {}) if column != panel.first else {}
        have = [update for update in updates if update in other]
        if have:
            second.append((have, [_mean(other[update]) for update in have]))
    return Line(
        drawn.places[name],
        name,
        drawn.styles[name],
        updates,
        [_mean(first[update]) for update in updates],
        [min(first[update]) for update in updates] if several else (),
        [max(first[update]) for update in updates] if several else (),
        second=second,
    )


def _mean(numbers: Sequence[float]) -> float:
    return math.fsum(numbers) / len(numbers)
