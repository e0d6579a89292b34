"""Aligned text tables."""

from __future__ import annotations

from collections.abc import Iterable


def grid(lines: list[list[str]]) -> str:
    """Return aligned Markdown rows, the first line being the header."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    drawn = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([drawn[0], rule, *drawn[1:]])


def decimals(values: Iterable[float]) -> int:
    """Return how many decimals tell returns of this size apart: none from 100 on, two below 10."""
    largest = max((abs(value) for value in values), default=0.0)
    return 0 if largest >= 100 else 1 if largest >= 10 else 2


def shown(value: float) -> str:
    """Return a single value with one decimal, or two where it is below 10."""
    return f"{value:.{max(1, decimals([value]))}f}"


def say(line: str) -> None:
    """Print one line at once."""
    print(line, flush=True)
