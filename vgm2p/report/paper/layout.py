"""A table of the paper as text and CSV: the published number, ours, and the difference in every cell."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from itertools import groupby

from vgm2p.config.settings import PAPER
from vgm2p.io.text import command, csv_cell, grid, name
from vgm2p.report.paper.cells import PaperCell
from vgm2p.report.paper.published import AVERAGE, EPISODES, SEEDS, SOURCE, Number, published
from vgm2p.report.paper.scaling import Scale
from vgm2p.report.tables import bounds

WIDEST = 118  # characters of a printed table; further algorithms stand in the next one
LINES = ("paper", "ours", "difference")
MARKS = "†!x"  # other seeds, missing episodes, diverged
CSV = (
    *("table", "dataset", "experiment", "column", "algorithm", "scale", "paper_mean", "paper_std"),
    *("mean", "ci95_low", "ci95_high", "difference", "difference_low", "difference_high"),
    *("seeds", "episodes", "diverged", "missing_seeds", "command"),
)
DIFFERENCE = (
    "difference: ours minus paper; its 95 % interval joins our bootstrap with the error of the paper's mean, its "
    f"standard deviation / sqrt({SEEDS}) times Student's t with {SEEDS - 1} degrees of freedom"
)


def paper_table(number: Number, cells: Sequence[PaperCell], scale: Scale) -> str:
    """Return the table as Markdown: datasets down, algorithms across, split into tables that fit a terminal.

    A dataset has a line with the numbers of the paper and, where there are runs of ours, lines with our means and the
    differences.
    """
    columns = list(dict.fromkeys(cell.published.column for cell in cells))
    drawn = {column: _column(number, column, cells, scale) for column in columns}
    labels = [label for label, _ in drawn[columns[0]]]
    first = max(len(f"{dataset} {line}") for dataset, line in labels)
    blocks, chosen, width = [], [columns[0]], first + _width(drawn[columns[0]], columns[0])
    for column in columns[1:]:
        further = _width(drawn[column], column)
        if width + further > WIDEST:
            blocks.append(chosen)
            chosen, width = [], first
        chosen, width = [*chosen, column], width + further
    parts = [_block(number, block, drawn, labels) for block in [*blocks, chosen]]
    return "\n\n".join([f"Table {number} of the paper{scale.title}", *parts])


Label = tuple[str, str]  # dataset, line of LINES
Column = list[tuple[Label, str]]


def _column(number: Number, column: str, cells: Sequence[PaperCell], scale: Scale) -> Column:
    """Return label -> text of every line of a column, the lines of a dataset one after another."""
    found: Column = []
    averages = {(each.group, each.column): each for each in published(number) if each.row == AVERAGE}
    mine = [cell for cell in cells if cell.published.column == column]
    for group, members in groupby(mine, key=lambda cell: cell.published.group):
        part = list(members)
        for cell in part:
            texts = _texts(cell, scale)
            found += [((cell.published.row, line), text) for line, text in zip(LINES, texts, strict=True)]
        average = averages.get((group, column))
        if average and not scale.applied:
            found.append(((f"{AVERAGE} {group}", "paper"), f"{average.mean:.1f}"))
            complete = [cell.value() for cell in part]
            ours = [value[0] for value in complete if value is not None]
            marks = "".join(mark for mark in MARKS if any(mark in _marks(cell) for cell in part))
            text = f"{sum(ours) / len(ours):.1f}{marks}" if len(ours) == len(part) else ""
            found.append(((f"{AVERAGE} {group}", "ours"), text))
    return found


def _texts(cell: PaperCell, scale: Scale) -> tuple[str, str, str]:
    """Return the three lines of a cell."""
    each, value, gap = cell.published, cell.value(), cell.difference()
    paper = scale.of(cell, each.mean)
    spread = scale.width(cell, each.std or 0.0)
    theirs = "" if paper is None else f"{paper:.1f} ± {spread:.1f}"
    if value is None or gap is None or paper is None:
        return theirs, "", ""
    shown, far = scale.cell(cell, value), scale.differing(cell, gap)
    digits = 0 if max(map(abs, (shown[0], paper))) >= 100 else 1
    star = "*" if far[1] > 0 or far[2] < 0 else ""
    return theirs, bounds(shown, digits) + _marks(cell), bounds(far, digits) + star


def _marks(cell: PaperCell) -> str:
    """Return the marks of a cell with runs of ours, of `MARKS`."""
    short, lost = any(run.short for run in cell.runs), any(run.diverged for run in cell.runs)
    return "†" * (len(cell.seeds) != SEEDS) + "!" * short + "x" * lost


def _width(column: Column, title: str) -> int:
    return 3 + max(len(title), *(len(text) for _, text in column))


def _block(number: Number, chosen: Sequence[str], drawn: dict[str, Column], labels: Sequence[Label]) -> str:
    """Return one of the tables. Lines without any text are left out."""
    lines = [[f"table {number}", *chosen]]
    texts = {column: dict(drawn[column]) for column in chosen}
    for label in labels:
        row = [texts[column].get(label, "") for column in chosen]
        if any(row):
            lines.append([f"{label[0]} {label[1]}", *row])
    return grid(lines)


def notes(number: Number, cells: Sequence[PaperCell]) -> str:
    """Return the lines below a table: where the numbers come from, under which conditions, and what the marks mean."""
    runs = [run for cell in cells for run in cell.runs]
    lines = [
        f"paper: mean ± standard deviation over {SEEDS} seeds, {EPISODES} episodes each; {SOURCE}, Table {number}",
        "several columns of the paper equal those of earlier papers, which had other budgets: vgm2p/data/README.md",
        "MADiff: the paper does not say which one; ours is madiff_d, the decentralised one",
    ]
    if runs:
        counts = [f"{n} seed{'' if n == 1 else 's'}" for n in sorted({len(cell.seeds) for cell in cells if cell.runs})]
        episodes = sorted({len(values) for cell in cells for values in cell.ours})
        versions = dict.fromkeys(
            f"{name(key)} {name(version)}"
            for run in runs
            for key, version in run.manifest.get("environment_versions", {}).items()
        )
        lines += [
            "ours: mean [95 % interval, bootstrap over seeds, then episodes; too short with few seeds], "
            f"protocol={PAPER}, {', '.join(counts)}, "
            f"{', '.join(map(str, episodes))} episodes each, every algorithm in its own way to act",
            f"simulator: {', '.join(versions) or 'not known'}; the paper does not name its versions",
            DIFFERENCE,
            f"marks: * interval without 0; † other than {SEEDS} seeds; ! episodes missing; x a seed diverged",
        ]
    return "\n".join(f"- {line}" for line in [*lines, *_commands(number, cells)])


def _commands(number: Number, cells: Sequence[PaperCell]) -> list[str]:
    """Return lines with the commands that fill the cells that lack seeds."""
    missing = [cell for cell in cells if cell.missing]
    if not missing:
        return []
    runs = sum(len(cell.missing) for cell in missing)
    return [
        f"{len(missing)} of {len(cells)} cells lack {runs} runs; this trains all (finished ones are skipped): "
        + command("fit", "-m", f"+sweep=table{number}"),
        f"one cell (table{number}.csv has the command of each): {missing[0].command()}",
    ]


def paper_csv(number: Number, cells: Sequence[PaperCell], scale: Scale) -> str:
    """Return the table as CSV, one line per cell; `command` trains the seeds that are missing."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV)
    for cell in cells:
        each, value, gap = cell.published, cell.value(), cell.difference()
        own = [*scale.cell(cell, value), *scale.differing(cell, gap)] if value and gap else [math.nan] * 6
        paper = scale.of(cell, each.mean)
        theirs = [math.nan if paper is None else paper, scale.width(cell, each.std or 0.0)]
        numbers = ["" if math.isnan(number) else f"{number:.6g}" for number in (*theirs, *own)]
        lost = sum(len(run.diverged) for run in cell.runs)
        counts = [len(cell.seeds), sum(map(len, cell.ours)), lost] if cell.runs else ["", "", ""]
        labels = [number, each.row, each.experiment, each.column, each.algorithm, scale.name]
        writer.writerow([*map(csv_cell, labels), *numbers, *counts, len(cell.missing), cell.command()])
    return text.getvalue()
