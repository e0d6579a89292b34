"""Line charts as SVG. Lines stretch with the page, and text keeps its size; a script adds values and toggles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vgm2p.report.looks import Look
from vgm2p.report.page.axes import LARGEST, Scale, scale_of, tick_text
from vgm2p.report.page.markup import Markup, element
from vgm2p.report.runs import Run

UNITS = 1000.0  # width and height of a chart in its own units
NARROW = 4  # largest number of ticks on the x axis


@dataclass(frozen=True)
class Drawn:
    """What all charts of one experiment share.

    Attributes:
        key: beginning of the charts' names.
        methods: name -> runs.
        styles: name -> look.
        places: name -> number of the method on the page.
        most: largest number of points of a line.
    """

    key: str
    methods: Mapping[str, Sequence[Run]]
    styles: Mapping[str, Look]
    places: Mapping[str, int]
    most: int


@dataclass(frozen=True)
class Line:
    """The line of a method in a chart.

    Attributes:
        method: number of the method on the page.
        name: name of the method.
        look: its colour and line style.
        x: updates.
        y: values.
        low: lower ends of the band; empty for no band.
        high: upper ends of the band.
        thin: thin lines of the same colour, (updates, values) each: single seeds.
        second: lines of further columns.
    """

    method: int
    name: str
    look: Look
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    thin: Sequence[tuple[Sequence[float], Sequence[float]]] = ()
    second: Sequence[tuple[Sequence[float], Sequence[float]]] = ()


@dataclass(frozen=True)
class Chart:
    """A chart: title, lines, and levels (name -> value) that are drawn as horizontal lines.

    Attributes:
        key: its name in the data of the page.
        note: what further lines mean; empty if there are none.
        wide: whether it takes the whole width.
    """

    key: str
    title: str
    lines: Sequence[Line]
    levels: dict[str, float] = field(default_factory=dict)
    log: bool = False
    share: bool = False
    note: str = ""
    wide: bool = False

    def values(self) -> Iterator[float]:
        """Yield all numbers that must be inside of the chart."""
        for line in self.lines:
            for numbers in (line.y, line.low, line.high, *(y for _, y in (*line.thin, *line.second))):
                yield from numbers
        yield from self.levels.values()

    def scales(self) -> tuple[Scale, Scale]:
        """Return the axes of updates and of values. That of updates begins at 0."""
        last = max((x for line in self.lines for x in line.x), default=1.0)
        return Scale(0.0, max(last, 1.0)), scale_of(self.values(), self.log, self.share)

    def data(self) -> dict[str, Any]:
        """Return what the script needs to show values: axes, and the numbers of every line."""
        across, up = self.scales()
        lines = [
            {
                "m": line.method,
                "n": line.name,
                "x": list(line.x),
                "y": _short(line.y),
                **({"l": _short(line.low), "h": _short(line.high)} if line.low else {}),
            }
            for line in self.lines
        ]
        return {"x": across.high, "y": [up.low, up.high], "log": up.log, "lines": lines}

    def drawn(self) -> Markup:
        """Return the chart as HTML."""
        across, up = self.scales()
        inside = element(
            "svg",
            *(self._line(line, across, up) for line in self.lines),
            class_="lines",
            viewBox=f"0 0 {UNITS:g} {UNITS:g}",
            preserveAspectRatio="none",
        )
        plot = element(
            "div",
            element("svg", _grid(across, up), self._levels(up), inside, class_="frame", aria_hidden="true"),
            class_="plot",
            tabindex="0",
            role="img",
            aria_label=f"{self.title}: chart over updates. Arrow keys show the values.",
            data_chart=self.key,
        )
        caption = element("figcaption", element("b", self.title), element("span", self._axis(), class_="axis"))
        return element("figure", caption, plot, class_="chart wide" if self.wide else "chart")

    def _axis(self) -> str:
        parts = [self.note, "log axis" if self.log else ""]
        return "; ".join(part for part in parts if part)

    def _levels(self, up: Scale) -> list[Markup]:
        found = []
        for place, (name, value) in enumerate(self.levels.items()):
            y = f"{100 * (1 - up.share(value)):.2f}%"
            found.append(element("line", x1="0", x2="100%", y1=y, y2=y, class_=f"level level{place % 2}"))
            found.append(element("text", name, x="100%", y=y, dx="-4", dy="-4", class_="level-name"))
        return found

    def _line(self, line: Line, across: Scale, up: Scale) -> Markup:
        ends = [*zip(line.x, line.high, strict=False), *reversed(list(zip(line.x, line.low, strict=False)))]
        parts = [
            *([element("path", d=_path(ends, across, up), class_="band")] if ends else []),  # one seed has no band
            *(element("path", d=_path(zip(*both, strict=True), across, up), class_="seed") for both in line.thin),
            *(element("path", d=_path(zip(*both, strict=True), across, up), class_="second") for both in line.second),
            element("path", d=_path(zip(line.x, line.y, strict=True), across, up), class_=f"mean d{line.look.style}"),
        ]
        if len(line.x) <= 24:
            dots = "".join(_path([point], across, up) + "h0" for point in zip(line.x, line.y, strict=True))
            parts.append(element("path", d=dots, class_="dots"))
        return element("g", *parts, class_=f"c{line.look.colour}", data_m=line.method)


def _grid(across: Scale, up: Scale) -> list[Markup]:
    """Return lines and texts of the ticks."""
    rows, columns = up.ticks(5), across.ticks(NARROW)
    found = []
    for tick in rows:
        y = f"{100 * (1 - up.share(tick)):.2f}%"
        found.append(element("line", x1="0", x2="100%", y1=y, y2=y, class_="grid"))
        found.append(element("text", tick_text(tick, rows), x="0", y=y, dx="-8", dy="4", class_="y"))
    for tick in columns:
        x = f"{100 * across.share(tick):.2f}%"
        found.append(element("line", x1=x, x2=x, y1="0", y2="100%", class_="grid"))
        found.append(element("text", tick_text(tick, columns), x=x, y="100%", dy="18", class_="x"))
    return found


def _path(points: Any, across: Scale, up: Scale) -> str:
    """Return points as the path of an SVG."""
    places = [
        (UNITS * across.share(x), UNITS * (1 - up.share(y)))
        for x, y in points
        if abs(y) < LARGEST and (y > 0 or not up.log)
    ]
    return "".join(
        f"{'L' if k else 'M'}{x:.1f} {min(max(y, -UNITS), 2 * UNITS):.1f}" for k, (x, y) in enumerate(places)
    )


def _short(values: Sequence[float]) -> list[float | None]:
    """Return numbers with five digits, which keeps the page small; None for one that is not drawn."""
    return [float(f"{value:.5g}") if abs(value) < LARGEST else None for value in values]
