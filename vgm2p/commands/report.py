"""`vgm2p report`: a table, learning curves and a page of run folders."""

from __future__ import annotations

from pathlib import Path

from vgm2p.config.words import ReportSettings
from vgm2p.errors import MissingInput
from vgm2p.io.files import remove_stale, write_atomic
from vgm2p.io.text import say
from vgm2p.report.aggregates import aggregate_text
from vgm2p.report.curves import curves
from vgm2p.report.evaluations import load_with_evaluations
from vgm2p.report.page.page import check_target, write_page
from vgm2p.report.paper.command import write_paper_table
from vgm2p.report.runs import load_runs
from vgm2p.report.tables import CSV, as_csv, table, versus
from vgm2p.report.targets import check_folder
from vgm2p.report.variants import condition_warnings, name_variants
from vgm2p.run.lock import OutputLock
from vgm2p.signals import StopFlag


def run(settings: ReportSettings, stop: StopFlag) -> None:
    """Write the table, the curves and the page of run folders, and print the table.

    Raises MissingInput without finished runs, and what `check_target` raises for the page.
    """
    if settings.table is not None:
        write_paper_table(settings, settings.table, stop.check)
        return
    page, out = None if settings.html is None else Path(settings.html), Path(settings.out)
    if page is not None:
        check_target(page, out)
    check_folder(out, "table", CSV.split(), "curves.png")
    load = load_with_evaluations if settings.evaluations else load_runs
    loaded, about = load([str(name) for name in settings.runs])
    runs, repeated = name_variants(loaded)
    notices = [*about, *repeated, *condition_warnings(runs)]
    for notice in notices:
        say(notice)
    if not runs:
        raise MissingInput("none of these folders contains a finished run with an evaluation")
    out.mkdir(parents=True, exist_ok=True)
    text, best = table(runs), settings.acting == "best"
    if settings.versus:
        text += "\n\n" + versus(runs, settings.versus, best)
    if settings.iqm or settings.improvement:
        text += "\n\n" + aggregate_text(runs, settings.iqm, settings.versus if settings.improvement else None)
    drawn = [run for run in runs if run.curve]  # runs that evaluated during training
    with OutputLock(out / "table", say, wait=stop.check):  # so that table and curves are of the same runs
        for name in ("table.md", "table.csv", "curves.png"):
            remove_stale(out, name)
        write_atomic(out / "table.csv", as_csv(runs))  # first: it marks the folder of a report
        write_atomic(out / "table.md", text + "\n")
        if drawn:
            curves(drawn, out / "curves.png")
        else:
            (out / "curves.png").unlink(missing_ok=True)  # one of other runs
    written = None if page is None else write_page(runs, page, notices, settings.versus, best)
    say(text)
    files = ["table.md", "table.csv", *(["curves.png"] if drawn else [])]
    say(f"\nwritten to   {', '.join(str(out / name) for name in files)}")
    if written is not None:
        say(f"page         {page} ({written.line})")
