"""`vgm2p report table=1|2`: a table of the paper, with our runs beside the published numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from vgm2p.config.words import ReportSettings
from vgm2p.io.files import remove_stale, write_atomic
from vgm2p.io.text import say
from vgm2p.report.aggregates import aggregate_text
from vgm2p.report.evaluations import load_with_evaluations
from vgm2p.report.paper.cells import PaperCell, cells_of, standard_runs
from vgm2p.report.paper.layout import CSV, notes, paper_csv, paper_table
from vgm2p.report.paper.published import Number, published
from vgm2p.report.paper.scaling import Scale, normalised
from vgm2p.report.runs import Run, load_runs
from vgm2p.report.targets import check_folder
from vgm2p.report.variants import condition_warnings
from vgm2p.run.lock import OutputLock

CLONE = "bc_meanflow"  # with which `improvement=true` compares by default
RUNS = Path("runs")  # where `fit` writes by default


def write_paper_table(settings: ReportSettings, number: Number, wait: Callable[[], None]) -> None:
    """Write and print a table of the paper; `wait` is called while another command writes it.

    Raises MissingInput for a name without a folder, ConfigError if `versus` names no method with runs.
    """
    check_folder(Path(settings.out), f"table{number}", CSV)
    experiments = list(dict.fromkeys(each.experiment for each in published(number) if each.experiment))
    chosen = [str(name) for name in settings.runs] or _default(experiments)
    complete, notices = load_with_evaluations(chosen) if settings.evaluations else load_runs(chosen)
    if complete:
        say(f"comparing the settings of {len(complete)} runs with those of table {number}")
    cells, left_out = cells_of(number, complete)
    scale = normalised(complete) if settings.normalised else Scale()
    parts = [paper_table(number, cells, scale), notes(number, cells)]
    if settings.iqm or settings.improvement:
        base = settings.versus or CLONE
        compared, more = _compared(cells, complete, base if settings.improvement else None)
        left_out += more
        parts.append(aggregate_text(compared, settings.iqm, base if settings.improvement else None))
    out = Path(settings.out)
    out.mkdir(parents=True, exist_ok=True)
    text, name = "\n\n".join(parts), f"table{number}"
    with OutputLock(out / name, say, wait=wait):
        for file in (f"{name}.md", f"{name}.csv"):
            remove_stale(out, file)
        write_atomic(out / f"{name}.csv", paper_csv(number, cells, scale))  # first: it marks the folder of a report
        write_atomic(out / f"{name}.md", text + "\n")
    different = condition_warnings([run for cell in cells for run in cell.runs])
    for line in (*notices, *left_out, *different):
        say(line)
    say(f"\n{text}")
    say(f"\nwritten to   {out / f'{name}.md'}, {out / f'{name}.csv'}")


def _default(experiments: Sequence[str]) -> list[str]:
    """Return the run folders in `runs/` of the experiments of a table."""
    return [str(path.parent) for each in experiments for path in sorted((RUNS / each).glob("*/*/manifest.json"))]


def _compared(cells: Sequence[PaperCell], runs: Sequence[Run], base: str | None) -> tuple[list[Run], list[str]]:
    """Return the runs of the cells, and those of `base` on the same datasets, if the table has no such column.

    Also return a line for every run of `base` that is left out.
    """
    found, lines = [run for cell in cells for run in cell.runs], []
    if base is not None and base not in {cell.published.algorithm for cell in cells}:
        for experiment in dict.fromkeys(cell.published.experiment for cell in cells):
            chosen, more = standard_runs(runs, experiment, base)
            found += chosen
            lines += more
    return found, lines
