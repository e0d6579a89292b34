"""Charts of training diagnostics: the mean over the seeds of every method, with the range of its seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from vgm2p.errors import UserError
from vgm2p.report.page.axes import LARGEST, thinned
from vgm2p.report.page.charts import Chart, Drawn, Line
from vgm2p.report.panels import PANELS, Panel
from vgm2p.report.runs import Run
from vgm2p.run.folder import RunFolder

Seeds = dict[tuple[Path, int], dict[int, float]]  # (run folder, seed) -> update -> finite number
Table = dict[str, Seeds]  # of each column


def diagnostic_charts(drawn: Drawn) -> tuple[list[Chart], list[str]]:
    """Return the charts of one experiment, and a line for everything of metrics.csv that they cannot show.

    Lines have the updates at which all seeds of a method have a finite number. At others the mean would be of other
    seeds: a jump of the line would be nothing that a run did.
    """
    tables, notices = {}, []
    for name, group in drawn.methods.items():
        tables[name], lost = _table(group)
        notices += lost
    charts = []
    for panel in PANELS:
        lines = [line for name, table in tables.items() if (line := _line(panel, table, name, drawn)) is not None]
        charts += _charts(drawn.key, panel, lines)
        shown = {line.name for line in lines}
        notices += [
            f"no line of {name} for the {panel.title}: its seeds have no update in common"
            for name, table in tables.items()
            if table.get(panel.first) and name not in shown
        ]
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
    """Return the finite numbers of the drawn columns, and a line for every file and every seed that is left out."""
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
                    mine = found.setdefault(column, {}).setdefault((run.folder, int(row["seed"])), {})
                    if abs(number) < LARGEST:
                        mine[int(row["update"])] = number
        except UserError as error:
            notices.append(f"no diagnostics of {run.folder}: {error.line}")
        except (KeyError, ValueError):
            notices.append(f"no diagnostics of {run.folder}: a cell of metrics.csv is missing, or no number")
    return found, notices + _without_empty(found)


def _without_empty(table: Table) -> list[str]:
    """Remove seeds without a finite number. Return a line for each whose column has numbers of other seeds."""
    lost: dict[tuple[Path, int], list[str]] = {}
    for column, seeds in table.items():
        for key in [key for key, numbers in seeds.items() if not numbers]:
            del seeds[key]
            lost.setdefault(key, []).extend([column] if any(seeds.values()) else [])
    return [
        f"{folder}: seed {seed} has no finite {', '.join(columns)}; the charts show the other seeds"
        for (folder, seed), columns in lost.items()
        if columns
    ]


def _shared(seeds: Seeds) -> list[int]:
    """Return the updates at which all seeds have a finite number, in order."""
    return sorted(set.intersection(*map(set, seeds.values()))) if seeds else []


def _line(panel: Panel, table: Table, name: str, drawn: Drawn) -> Line | None:
    first = table.get(panel.first, {})
    updates = _shared(first)
    if not updates:
        return None
    updates = [updates[k] for k in thinned(len(updates), drawn.most)]
    values = [_at(first, update) for update in updates]
    several = len(first) > 1
    second = []
    for column in panel.columns:
        other = table.get(column, {}) if column != panel.first else {}
        both = set(_shared(other))
        have = [update for update in updates if update in both]
        if have:
            second.append((have, [_mean(_at(other, update)) for update in have]))
    return Line(
        drawn.places[name],
        name,
        drawn.styles[name],
        updates,
        [_mean(numbers) for numbers in values],
        [min(numbers) for numbers in values] if several else (),
        [max(numbers) for numbers in values] if several else (),
        second=second,
    )


def _at(seeds: Seeds, update: int) -> list[float]:
    """Return the numbers of all seeds at an update."""
    return [numbers[update] for numbers in seeds.values()]


def _mean(numbers: Sequence[float]) -> float:
    return math.fsum(numbers) / len(numbers)
