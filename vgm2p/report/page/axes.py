"""Scales of charts: where a number lies, and at which numbers an axis has ticks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

LARGEST = 1e100  # larger numbers have no place on an axis


@dataclass(frozen=True)
class Scale:
    """An axis from `low` to `high`, linear or logarithmic."""

    low: float
    high: float
    log: bool = False

    def share(self, value: float) -> float:
        """Return where a number lies: 0 at the low end, 1 at the high end."""
        low, high, at = (math.log(x) if self.log else x for x in (self.low, self.high, value))
        return (at - low) / (high - low)

    def ticks(self, most: int = 6) -> list[float]:
        """Return about `most` round numbers within the axis, at least two where there are any."""
        if not self.log:
            return _round_steps(self.low, self.high, most)
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for steps in ((1,), (1, 3), (1, 2, 5), (1, 2, 3, 4, 6)):
            found = [step * 10.0**power for power in powers for step in steps]
            inside = [tick for tick in found if self.low <= tick <= self.high]
            if len(inside) >= 3:
                return inside[:: -(-len(inside) // most)]
        return _round_steps(self.low, self.high, most)


def _round_steps(low: float, high: float, most: int) -> list[float]:
    raw = (high - low) / most
    exponent = math.floor(math.log10(raw))
    power = 10.0**exponent
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * (1 - 1e-9))
    inside = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    return [round(step * k, 12 - exponent) for k in inside]


def scale_of(values: Iterable[float], log: bool = False, share: bool = False) -> Scale:
    """Return an axis that holds all values with a margin; that of a `share` is 0 to 1. Without values: 0 to 1."""
    numbers = [value for value in values if abs(value) < LARGEST]
    low, high = min(numbers, default=0.0), max(numbers, default=1.0)
    if not numbers or (share and low >= 0 and high <= 1):
        return Scale(0.0, 1.0)
    if log:
        margin = max((high / low) ** 0.05, 1.05)
        return Scale(low / margin, high * margin, True)
    flat = high - low <= 1e-9 * max(abs(low), abs(high))
    margin = max(0.05 * abs(high), 0.5) if flat else 0.05 * (high - low)
    return Scale(low - margin, high + margin)


def thinned(count: int, most: int) -> list[int]:
    """Return at most `most` positions of `count` in order, evenly spread, with the first and the last."""
    if count <= most:
        return list(range(count))
    return sorted({round(k * (count - 1) / (most - 1)) for k in range(most)})


def tick_text(value: float, axis: Sequence[float]) -> str:
    """Return a tick as text: 20k for 20000, 2.5e-4, and as many digits as the ticks of its axis need to differ."""
    largest = max(map(abs, axis), default=0.0)
    apart = sorted({0.0, *axis})
    near = 1e-6 * min((after - before for before, after in pairwise(apart)), default=1.0)
    short = (1e6, "M") if 2e6 <= largest < 1e10 else (1e3, "k") if 1e4 <= largest < 2e6 else (1.0, "")
    unit, word, digits = next(
        (unit, word, digits)
        for unit, word, digits in ((*short, 4), *((1.0, "", digits) for digits in range(4, 18)))  # 17 are always enough
        if all(abs(float(_number(tick / unit, digits, largest)) * unit - tick) <= near for tick in axis)
    )
    return _number(value / unit, digits, largest) + (word if value else "")


def _number(value: float, digits: int, largest: float) -> str:
    """Return a number with at most so many digits; with a power of ten if all numbers of the axis are tiny."""
    if not value:
        return "0"
    mantissa, _, power = (f"{value:.{digits - 1}e}" if largest < 1e-3 else f"{value:.{digits}g}").partition("e")
    return (mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa) + (f"e{int(power)}" if power else "")
