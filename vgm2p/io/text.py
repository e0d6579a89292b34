"""Text for the terminal: aligned tables, numbers, lines."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable


def grid(lines: list[list[str]]) -> str:
    """Return an aligned Markdown table. The first line is the header."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    drawn = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([drawn[0], rule, *drawn[1:]])


def decimals(values: Iterable[float]) -> int:
    """Return the number of decimals for values of this size: 0 from 100 on, 1 from 10 on, else 2."""
    largest = max((abs(value) for value in values), default=0.0)
    return 0 if largest >= 100 else 1 if largest >= 10 else 2


def shown(value: float) -> str:
    """Return a number as text with one decimal, or with two if it is below 10."""
    return f"{value:.{max(1, decimals([value]))}f}"


def say(line: str) -> None:
    """Print one line, and flush the output."""
    print(line, flush=True)


@functools.cache
def warn_once(line: str) -> None:
    """Print a line on stderr, the first time that it is given."""
    print(f"vgm2p: {line}", file=sys.stderr, flush=True)
