"""What the page shows, from top to bottom: header, legend, one section per experiment, runs, versions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from vgm2p.io.shell import program
from vgm2p.report.looks import looks
from vgm2p.report.page.charts import Chart, Drawn
from vgm2p.report.page.curve_charts import curve_charts
from vgm2p.report.page.diagnostics import diagnostic_charts
from vgm2p.report.page.facts import UNKNOWN, each_once, experiment_facts, numbers, text_of, typed, versions
from vgm2p.report.page.markup import Content, Markup, element, joined
from vgm2p.report.page.results import MEASURED, differences_table, results_table, scrolling, swatch
from vgm2p.report.page.videos import Films
from vgm2p.report.runs import MEASURES, Run, pooled
from vgm2p.report.tables import named, notes, scores_are_returns

POINTS = 4000  # points of all lines of the charts of one kind: with many methods, each line has fewer
FEWEST, MOST = 16, 120  # points of a line
CLEAR = 4  # largest number of methods whose single seeds are shown at first
CURVES = "Evaluations during training: means over seeds with 95 % intervals; thin lines are single seeds."
HINT = "Point at a chart, or use the arrow keys, to read values. Press a name in the list above to hide its lines."
DIFFERENCES = "Of the final evaluation, with 95 % intervals. An interval that excludes 0 is marked clear."
DIAGNOSTICS = (
    "From metrics.csv: means over seeds, at the updates at which all of them have a finite number; "
    "bands reach from the lowest to the highest seed."
)
VIDEOS = "One recorded episode per method: the one with the highest return."
COMMANDS = "Each command repeats its run. With the same versions and device, the results are the same bit for bit."


class Sections:
    """The content of a page.

    Args:
        runs: the runs, as the tables show them.
        films: writes the videos.
        versus: the method of which differences are shown first; None: the one with the highest mean return.
        best: whether differences are those of each method's best way to act.
    """

    def __init__(self, runs: Sequence[Run], films: Films, versus: str | None, best: bool) -> None:
        self.runs, self.films, self.versus, self.best = runs, films, versus, best
        self.folders = list({run.folder: run for run in runs}.values())  # one may also be shown in other environments
        self.groups = pooled(runs)
        self.experiments = list(dict.fromkeys(experiment for experiment, _ in self.groups))
        self.methods = list(dict.fromkeys(method for _, method in self.groups))
        self.styles = looks(self.methods)
        self.places = {method: place for place, method in enumerate(self.methods)}
        self.most = max(FEWEST, min(MOST, POINTS // len(self.groups)))
        self.charts: list[Chart] = []

    @property
    def title(self) -> str:
        """What is compared, in one line."""
        where = self.experiments[0] if len(self.experiments) == 1 else f"{len(self.experiments)} tasks"
        return f"{self.methods[0] if len(self.methods) == 1 else f'{len(self.methods)} methods'} on {where}"

    @property
    def shows_seeds(self) -> bool:
        """Whether the lines of single seeds are shown at first: they hide each other where there are many methods."""
        return len(self.methods) <= CLEAR

    def body(self, notices: Sequence[str]) -> Markup:
        """Return the page without its head, and fill `charts`. `notices` are lines about the runs."""
        found = [self._experiment(place, experiment) for place, experiment in enumerate(self.experiments)]
        lines = [*notices, *(line for _, lost in found for line in lost)]
        shared = [line.replace(program(), "python -m vgm2p") for line in lines]  # a page names no path of this Python
        callout = element("ul", [element("li", line) for line in shared], class_="notices") if shared else None
        sections = [section for section, _ in found]
        return joined([self._header(), callout, self._legend(), sections, self._runs(), self._footer()])

    def _header(self) -> Markup:
        links = [element("a", name, href=f"#e{place}") for place, name in enumerate(self.experiments)]
        seeds = {seed for run in self.runs for seed in run.evaluated}
        counts: dict[str, Collection[object]] = {
            "method": self.methods,
            "task": self.experiments,
            "run": self.folders,
            "seed": seeds,
        }
        facts = [
            element("li", element("b", len(found)), f" {word}{'' if len(found) == 1 else 's'}")
            for word, found in counts.items()
        ]
        return element(
            "header",
            element("p", "vgm2p report", class_="kicker"),
            element("h1", self.title),
            element("ul", facts, class_="counts"),
            element("nav", links, element("a", "Runs and commands", href="#runs"), aria_label="sections"),
        )

    def _legend(self) -> Markup:
        pressed = {"type": "button", "aria_pressed": "true"}
        buttons = [
            element("button", swatch(self.styles[method]), method, data_toggle=place, **pressed)
            for method, place in self.places.items()
        ]
        pressed["aria_pressed"] = "true" if self.shows_seeds else "false"
        single = element("button", "single seeds", data_seeds=True, **pressed)
        return element("div", buttons, single, class_="legend", role="group", aria_label="methods in the charts")

    def _experiment(self, place: int, experiment: str) -> tuple[Markup, list[str]]:
        """Return the section of an experiment, and lines about files that cannot be read."""
        groups = {method: group for (there, method), group in self.groups.items() if there == experiment}
        runs = [run for group in groups.values() for run in group]
        trained = {method: group for method, group in groups.items() if any(run.curve for run in group)}
        drawn = Drawn(f"e{place}", trained, self.styles, self.places, self.most)
        curves = curve_charts(drawn)
        diagnostics, lost = diagnostic_charts(drawn)
        self.charts += [*curves, *diagnostics]
        facts = [
            element("div", element("dt", key), element("dd", value)) for key, value in experiment_facts(runs).items()
        ]
        if self.versus is not None and not named(pooled(runs), self.versus):
            lost.append(f"{experiment}: no run of versus={self.versus}; another method is compared with the others")
        differences = differences_table(runs, self.versus, self.best, self.styles)
        section = element(
            "section",
            element("h2", experiment),
            element("dl", facts, class_="facts"),
            self._tables(runs),
            _block("Learning curves", [CURVES, " ", element("span", HINT, class_="hint")], _charts(curves, "charts")),
            _block("Differences", DIFFERENCES, differences),
            _block("Training diagnostics", DIAGNOSTICS, _charts(diagnostics, "charts small")),
            _block("Videos", VIDEOS, self.films.section(trained, self.styles)),
            id=f"e{place}",
        )
        return section, lost

    def _tables(self, runs: Sequence[Run]) -> list[Markup | None]:
        measures = [each for each in MEASURES if each != "score" or not scores_are_returns(runs)]
        found = {measure: results_table(runs, measure, self.styles) for measure in measures}
        return [_block(f"Results: {MEASURED[m]}", "", scrolling(table)) for m, table in found.items() if table]

    def _runs(self) -> Markup:
        found: list[Mapping[str, str]] = [versions(run) for run in self.runs]
        names = dict.fromkeys(key for each in found for key in each)
        lines = [
            element(
                "tr",
                element("th", key, scope="row"),
                element("td", each_once(each.get(key, UNKNOWN) for each in found)),
            )
            for key in names
        ]
        return element(
            "section",
            element("h2", "Runs and commands"),
            element("p", COMMANDS, class_="note"),
            [self._run(run) for run in self.folders],
            element("h3", "Versions"),
            scrolling(element("table", element("tbody", lines), class_="versions")),
            id="runs",
        )

    def _run(self, run: Run) -> Markup:
        where = f"{run.key[0]}, seeds {numbers(run.evaluated)}, device {text_of(run, 'device')}"
        words = typed(run)
        shown: Content = element("p", "The folder does not hold its command.", class_="note")
        if words is not None:
            button = element("button", "Copy", type="button", data_copy=True, class_="plain")
            shown = element("div", element("code", words), button, class_="command")
        title = element("p", swatch(self.styles[run.name]), element("b", run.name), element("span", where))
        return element("div", title, element("p", str(run.folder), class_="path"), shown, class_="run")

    def _footer(self) -> Markup:
        return element(
            "footer",
            element("p", notes(self.runs)),
            element("p", f"A line has at most {self.most} points. The numbers of the results are those of table.csv."),
        )


def _charts(charts: Sequence[Chart], kind: str) -> Markup | None:
    return element("div", [chart.drawn() for chart in charts], class_=kind) if charts else None


def _block(title: str, note: Content, content: Markup | None) -> Markup | None:
    """Return a part of a section; None without content."""
    if content is None:
        return None
    text = element("p", note, class_="note") if note else None
    return element("div", element("h3", title), text, content, class_="block")
