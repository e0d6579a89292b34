"""`make results` and `make results-smax`: run what is missing through the product's own multirun, then write the page.

    python -m tools.results robots [--runs DIR] [--docs DIR] [--jobs N] [--only PART] [--write]
    python -m tools.results battles [--runs DIR] [--docs DIR] [--jobs N] [--write]

Resumable: recorded files and finished cells stay.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tools.results import battles, battles_page, robots, robots_page

DOCS = Path(__file__).resolve().parents[2] / "docs"


def arguments() -> argparse.Namespace:
    """Read the command line."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--runs", type=Path, default=Path("runs/results"))
    common.add_argument("--docs", type=Path, default=DOCS)
    common.add_argument("--jobs", type=int, default=2, help="cells at a time")
    common.add_argument("--write", action="store_true", help="write the page from what is finished, run nothing")
    parser = argparse.ArgumentParser(prog="python -m tools.results")
    halves = parser.add_subparsers(dest="half", required=True)
    halves.add_parser("robots", parents=[common]).add_argument("--only", choices=robots.PARTS, action="append")
    halves.add_parser("battles", parents=[common])
    return parser.parse_args()


def run_robots(options: argparse.Namespace) -> int:
    """Run the robots' cells, write their half of the page; return the exit code."""
    parts = options.only or list(robots.PARTS)
    robots.print_plan(parts, options.runs, options.jobs)
    code = 0 if options.write else robots.run_missing(parts, options.runs, options.jobs)
    robots_page.write(options.runs, options.docs)
    return code


def run_battles(options: argparse.Namespace) -> int:
    """Record the battles' data, run their cells, write their half of the page; return the exit code."""
    code = 0
    if not options.write:
        code = max(battles.record(scenario) for scenario in battles.SETS.values())
        battles.print_plan(options.runs, options.jobs)
        code = code or battles.run_missing(options.runs, options.jobs)
    battles_page.write(options.runs, options.docs)
    return code


def main() -> int:
    """Do one half."""
    options = arguments()
    return run_robots(options) if options.half == "robots" else run_battles(options)


if __name__ == "__main__":
    sys.exit(main())
