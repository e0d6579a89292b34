"""How methods look in every picture: colours that colour-blind readers can tell apart, then line styles."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

# Okabe and Ito without their yellow, which nobody sees on white, and a purple
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7A1FE0")
DARK = ("#2F86D0", "#E06A1F", "#0FA37A", "#E29BC6", "#F0B429", "#86D2FF", "#F1F3F5", "#A45CFF")  # on a dark ground
# lengths of strokes and gaps, in widths of the line: of the first eight methods, the next eight, and so on
DASHES: tuple[tuple[int, ...], ...] = ((), (5, 2), (1, 2), (6, 2, 1, 2), (9, 3), (4, 1, 1, 1, 1, 1))
MARKERS = ("o", "s", "^", "D", "v", "P")  # for the same groups of eight


@dataclass(frozen=True)
class Look:
    """Colour and line of a method.

    Attributes:
        colour: position in `COLOURS` and `DARK`.
        style: position in `DASHES` and `MARKERS`.
    """

    colour: int
    style: int


def looks(names: Iterable[str]) -> dict[str, Look]:
    """Return name -> look. The first `len(COLOURS) * len(DASHES)` names look different."""
    count = len(COLOURS)
    return {name: Look(place % count, place // count % len(DASHES)) for place, name in enumerate(dict.fromkeys(names))}
