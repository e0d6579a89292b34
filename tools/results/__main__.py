"""`make results`, `make results-baselines`, `make results-smax`.

They run what is missing, each cell by `vgm2p fit`, then write the page.

    python -m tools.results robots [--runs DIR] [--docs DIR] [--jobs N] [--only PART] [--write]
    python -m tools.results baselines [--runs DIR] [--docs DIR] [--jobs N] [--only PART] [--write]
    python -m tools.results battles [--runs DIR] [--docs DIR] [--jobs N] [--only PART] [--write]

The commands are resumable: recorded files and finished cells are kept. A cell is five seeds of one experiment and row.
The numbers of a finished cell are packed into `<docs>/results/cells`, and unpacked from there in another checkout.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tools.results import baselines, baselines_page, battles, battles_page, robots, robots_page, smax_baselines_page
from tools.results.cells import Plan, cells, keep_finished, print_plan, restore, run_missing
from vgm2p.errors import PREFIX, UserError
from vgm2p.io.files import require_file

DOCS = Path(__file__).resolve().parents[2] / "docs"


def arguments() -> argparse.Namespace:
    """Read the command line."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--runs", type=Path, default=Path("runs/results"))
    common.add_argument("--docs", type=Path, default=DOCS)
    common.add_argument("--jobs", type=int, default=2, help="number of cells that run at the same time")
    common.add_argument("--write", action="store_true", help="write the page from the finished runs, and run nothing")
    parser = argparse.ArgumentParser(prog="python -m tools.results")
    halves = parser.add_subparsers(dest="half", required=True)
    for name, plan in (("robots", robots.PARTS), ("baselines", baselines.PARTS), ("battles", battles.PARTS)):
        halves.add_parser(name, parents=[common]).add_argument("--only", choices=plan, action="append")
    return parser.parse_args()


def run_plan(plan: Plan, options: argparse.Namespace) -> int:
    """Run the unfinished cells of the chosen parts; return the exit code."""
    parts, archive = options.only or list(plan), options.docs / "results" / "cells"
    restore(plan, list(plan), options.runs, archive)
    print_plan(plan, parts, options.runs, options.jobs)
    code = 0 if options.write else run_missing(plan, parts, options.runs, archive, options.jobs)
    keep_finished(plan, list(plan), options.runs, archive)
    return code


def run_robots(options: argparse.Namespace) -> int:
    """Run the robots' cells, write their half of docs/results.md; return the exit code."""
    code = run_plan(robots.PARTS, options)
    robots_page.write(options.runs, options.docs)
    return code


def run_baselines(options: argparse.Namespace) -> int:
    """Run the cells of the baselines, write docs/baselines.md; return the exit code."""
    code = run_plan(baselines.PARTS, options)
    baselines_page.write(options.runs, options.docs)
    return code


def run_battles(options: argparse.Namespace) -> int:
    """Record the battles' data, run their cells, write the pages of the chosen parts; return the exit code.

    A part that was not asked for keeps its page: the half of docs/results.md, or docs/smax_baselines.md.

    Raises:
        MissingInput: if data are missing, because they could not be recorded or nothing may run. The pages stay.
    """
    parts = options.only or list(battles.PARTS)
    scenarios = sorted({battles.SCENARIOS[experiment] for experiment, _ in cells(battles.PARTS, parts)})
    for scenario in scenarios:
        if not options.write:
            battles.record(scenario)
        require_file(battles.data_file(scenario), "the recorded battles are missing; `make results-smax` records them")
    code = run_plan(battles.PARTS, options)
    if set(battles.PAGE) & set(parts):
        battles_page.write(options.runs, options.docs)
    if "values" in parts:
        smax_baselines_page.write(options.runs, options.docs)
    return code


def main() -> int:
    """Run the part that the first word of the command line names."""
    options = arguments()
    try:
        return {"robots": run_robots, "baselines": run_baselines, "battles": run_battles}[options.half](options)
    except UserError as error:
        print(f"{PREFIX}{error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
