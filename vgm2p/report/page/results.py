"""Tables of the page: results with their intervals drawn, and differences. The numbers are those of table.csv."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from vgm2p.io.text import decimals, name
from vgm2p.report.looks import Look
from vgm2p.report.page.axes import LARGEST, Scale, scale_of, tick_text
from vgm2p.report.page.markup import Content, Markup, element, joined
from vgm2p.report.runs import MEASURES, Run, pooled, ways_of
from vgm2p.report.tables import (
    DATASET,
    Cell,
    Difference,
    Entry,
    bounds,
    differences_between,
    entries_of,
    named,
)
from vgm2p.run.ways import Way, way_title

MOST_BASES = 12  # with more methods, differences are shown to one of them alone
MEASURED = {"won": "win rate", "return": "return", "score": "score"}
ROOM = 18  # characters of the texts of a ruler that fit into a narrow column


def swatch(look: Look | None) -> Markup | None:
    """Return a short line that looks like the curve of a method."""
    if look is None:
        return None
    line = element("path", d="M1 6H27", class_=f"mean d{look.style}")
    return element("svg", line, class_=f"swatch c{look.colour}", viewBox="0 0 28 12", aria_hidden="true")


def results_table(runs: Sequence[Run], measure: str, styles: Mapping[str, Look]) -> Markup | None:
    """Return the table of a measure: a line per method, its interval drawn, and a column per way to act.

    Every cell has the text of table.csv in `data-mean`, `data-low` and `data-high`.
    """
    entries, ways = entries_of(runs, measure), ways_of(runs)
    if not any(entry.counts for entry in entries):
        return None
    cells = [cell for entry in entries for cell in entry.cells.values() if cell]
    digits = decimals(bound for cell in cells for bound in cell)
    shown = {id(entry): _shown_way(entry) for entry in entries}
    scale = scale_of(bound for entry in entries for bound in entry.cells.get(shown[id(entry)]) or ())
    data = [entry for entry in entries if not entry.counts and entry.method.startswith(DATASET)]
    level = data[0].cells[ways[0]] if [entry.method for entry in data] == [DATASET] else None
    best = max(_centre(entry, shown[id(entry)]) for entry in entries if entry.counts)
    head = [
        _header("method", "text"),
        _header("default way to act", "number", "plotted", _ruler(scale)),
        *(_header(way_title(way), "number") for way in ways),
        _header("per seed", "text", "values"),
    ]
    lines = []
    for entry in entries:
        look = styles.get(entry.method) if entry.counts else None
        title = element("th", swatch(look), element("span", entry.method), scope="row", data_value=entry.method)
        own = entry.cells.get(shown[id(entry)])
        value = None if own is None else f"{own[0]:.6g}"
        drawn = element("td", _drawn(own, scale, look, level), class_="plotted", data_value=value)
        numbers = [_number(entry, way, digits, way == shown[id(entry)]) for way in ways]
        kind = "reference" if not entry.counts else "best" if _centre(entry, shown[id(entry)]) == best else None
        lines.append(element("tr", title, drawn, numbers, _per_seed(entry, digits), class_=kind))
    return element(
        "table",
        element("thead", element("tr", head)),
        element("tbody", lines),
        class_="sortable",
        data_measure=measure,
        data_experiment=name(entries[0].experiment),
    )


def _shown_way(entry: Entry) -> Way:
    """Return the way to act whose interval is drawn: the method's own, or the first that it has."""
    if entry.cells.get(entry.own):
        return entry.own
    return next((way for way, cell in entry.cells.items() if cell), None)


def _centre(entry: Entry, way: Way) -> float:
    cell = entry.cells.get(way)
    return cell[0] if cell else float("-inf")


def _header(title: str, kind: str, class_: str | None = None, below: Markup | None = None) -> Markup:
    button = element("button", title, type="button")
    return element("th", button, below, scope="col", aria_sort="none", data_kind=kind, class_=class_)


def _ruler(scale: Scale) -> Markup:
    """Return the ticks above the drawn intervals."""
    ticks = scale.ticks(4)
    if sum(len(tick_text(tick, ticks)) for tick in ticks) > ROOM:
        ticks = ticks[::2]
    texts = [
        element("text", tick_text(tick, ticks), x=f"{100 * scale.share(tick):.1f}%", y="12", class_="x")
        for tick in ticks
    ]
    return element("svg", texts, class_="ruler", aria_hidden="true")


def _drawn(cell: Cell | None, scale: Scale, look: Look | None, level: Cell | None = None) -> Markup | None:
    """Return an interval as a picture; `level` is drawn behind it."""
    if cell is None:
        return None
    centre, low, high = (f"{100 * scale.share(value):.2f}%" if abs(value) < LARGEST else "0" for value in cell)
    parts: list[Content] = []
    if level is not None:
        at = f"{100 * scale.share(level[0]):.2f}%"
        parts.append(element("line", x1=at, x2=at, y1="0", y2="100%", class_="level level0"))
    if not math.isnan(cell[1]):
        parts.append(element("line", x1=low, x2=high, y1="50%", y2="50%", class_="whisker"))
    parts.append(element("circle", cx=centre, cy="50%", r="4"))
    kind = "reference" if look is None else f"c{look.colour}"
    return element("svg", parts, class_=f"interval {kind}", aria_hidden="true")


def _number(entry: Entry, way: Way, digits: int, drawn: bool) -> Markup:
    """Return the cell of a way to act; `drawn` says whether its interval is drawn at the left."""
    cell = entry.cells[way]
    if cell is None:
        return element("td", class_="number")
    mark = ("*" if way in entry.above_data else "") + ("!" if way in entry.short else "") + ("x" if entry.lost else "")
    mark += "<" if entry.per_seed and way == entry.own else ""
    seeds, episodes = entry.counts.get(way, (None, None))
    return _cell(
        cell,
        digits,
        element("span", mark, class_="mark") if mark else None,
        data_way="" if way is None else str(way),
        data_seeds=seeds,
        data_episodes=episodes,
        data_diverged=None if seeds is None else entry.lost,
        class_="number drawn" if drawn else "number",
    )


def _cell(cell: Cell, digits: int, mark: Markup | None, class_: str = "number", **data: Content) -> Markup:
    """Return a mean with its interval as a cell; its attributes hold the text of table.csv."""
    centre, _, interval = bounds(cell, digits).partition(" ")
    mean, low, high = ("" if math.isnan(value) else f"{value:.6g}" for value in cell)
    text = [element("b", centre), " ", element("span", interval, class_="interval-text")]
    numbers = {"data_value": mean, "data_mean": mean, "data_low": low, "data_high": high}
    return element("td", text, mark, class_=class_, **numbers, **data)


def _per_seed(entry: Entry, digits: int) -> Markup:
    flags = entry.diverged or (False,) * len(entry.per_seed)
    texts = [f"{value:.{digits}f}{'x' if bad else ''}" for value, bad in zip(entry.per_seed, flags, strict=True)]
    return element("td", " ".join(texts), class_="values", data_value=" ".join(texts))


def differences_table(runs: Sequence[Run], versus: str | None, best: bool, styles: Mapping[str, Look]) -> Markup | None:
    """Return the differences within one experiment: a choice of the method to compare with, and a table.

    Without `versus`, the method with the highest mean return is chosen first. None with fewer than two methods.
    """
    groups = {method: group for (_, method), group in pooled(runs).items()}
    if len(groups) < 2:
        return None
    chosen = _chosen(runs, versus)
    bases = list(groups) if len(groups) <= MOST_BASES else [chosen]
    found = [
        (base, each)
        for base in bases
        for other, group in groups.items()
        if other != base
        for each in differences_between(groups[base], group, best)
    ]
    found.sort(key=lambda pair: MEASURES.index(pair[1].measure))  # all of one measure, then all of the next
    if not found:  # no two methods were evaluated in their default ways
        return None
    scales = {
        measure: scale_of([0.0, *(bound for _, each in found if each.measure == measure for bound in each.cell)])
        for measure in dict.fromkeys(each.measure for _, each in found)
    }
    lines = [_difference(each, scales[each.measure], styles, base == chosen) for base, each in found]
    options = [element("option", base, value=base, selected=True if base == chosen else None) for base in bases]
    choice = [element("select", options, data_bases=True)] if len(bases) > 1 else element("b", chosen)
    head = [
        _header("other method", "text"),
        _header("difference", "number"),
        element("th", "lower | higher than the other", scope="col", class_="plotted"),
        _header("measure", "text"),
    ]
    return joined(
        [
            element("p", element("label", choice, " minus each other method"), class_="choice"),
            scrolling(
                element(
                    "table",
                    element("thead", element("tr", head)),
                    element("tbody", lines),
                    class_="sortable differences",
                )
            ),
        ]
    )


def scrolling(table: Markup) -> Markup:
    """Return a table that scrolls by itself where the page is narrow."""
    return element("div", table, class_="scroll", tabindex="0", role="region", aria_label="table")


def _chosen(runs: Sequence[Run], versus: str | None) -> str:
    """Return the method that `versus` names, or else the one with the highest mean return."""
    found = named(pooled(runs), versus)
    if found:
        return found[0][1]
    entries = [entry for entry in entries_of(runs) if entry.counts]
    return max(entries, key=lambda entry: _centre(entry, _shown_way(entry))).method


def _difference(found: Difference, scale: Scale, styles: Mapping[str, Look], shown: bool) -> Markup:
    """Return a line of the table of differences. One that excludes 0 is marked."""
    other, way = found.second
    clear = found.cell[1] > 0 or found.cell[2] < 0
    marks = " ".join(["x"] * found.lost + ["clear"] * clear)
    zero = (0.0, 0.0, 0.0)
    return element(
        "tr",
        element(
            "th",
            swatch(styles[other]),
            element("span", other),
            element("span", way_title(way), class_="way") if way is not None else None,
            scope="row",
            data_value=other,
        ),
        _cell(
            found.cell,
            found.digits,
            element("span", marks, class_="mark", title="the interval excludes 0" if clear else None)
            if marks
            else None,
        ),
        element("td", _drawn(found.cell, scale, styles[found.first[0]], zero), class_="plotted"),
        element("td", MEASURED[found.measure], data_value=found.measure),
        data_base=found.first[0],
        data_measure=found.measure,
        hidden=None if shown else True,
    )
