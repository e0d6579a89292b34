"""The HTML page of a report: same numbers as table.csv, nothing of a run folder is markup, nothing comes from outside."""

import base64
import csv
import hashlib
import io
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from tests.report.paged_runs import EXPERIMENT, FILM, HOSTILE, add_film, change, loaded, write_runs
from vgm2p.errors import ConfigError, StorageError
from vgm2p.report.page import videos
from vgm2p.report.page.axes import Scale, scale_of, thinned
from vgm2p.report.page.markup import data_block, element
from vgm2p.report.page.page import check_target, write_page
from vgm2p.report.tables import as_csv, differences_of
from vgm2p.run.folder import write_json

OUTSIDE = re.compile(r"""(?:https?|wss?|ftp):|["'(]//|@import|url\(""", re.IGNORECASE)


class Page(HTMLParser):
    """The elements of a page: (tag, attributes), and the text of some."""

    def __init__(self, path):
        super().__init__()
        self.source = path.read_text()
        self.elements, self.text, self._inside = [], {}, []
        self.feed(self.source)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self._inside.append(tag)

    def handle_endtag(self, tag):
        while self._inside and self._inside.pop() != tag:
            pass

    def handle_data(self, data):
        if self._inside:
            self.text.setdefault(self._inside[-1], []).append(data)

    def all(self, tag, key=None):
        return [found for name, found in self.elements if name == tag and (key is None or key in found)]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("paged")
    write_runs(folder, hostile=True)
    return folder


@pytest.fixture(scope="module")
def page(place):
    write_page(loaded(place), place / "page.html", ["left out: <b>x</b>"])
    return Page(place / "page.html")


def test_the_numbers_of_the_page_are_those_of_table_csv(place, page):
    table = list(csv.DictReader(io.StringIO(as_csv(loaded(place)))))
    wanted = [
        [
            line["measure"],
            line["act_noise"],
            *(line[key] for key in ("mean", "ci95_low", "ci95_high", "seeds", "episodes")),
        ]
        for line in table
    ]
    found, measure = [], None
    for tag, attributes in page.elements:
        measure = attributes.get("data-measure", measure) if tag == "table" else measure
        if tag == "td" and "data-way" in attributes:
            numbers = [attributes[f"data-{key}"] for key in ("mean", "low", "high")]
            counts = [attributes.get(f"data-{key}", "") for key in ("seeds", "episodes")]
            found.append([measure, attributes["data-way"], *numbers, *counts])
    # a method with one way has one line in the file, and the same cell in all columns
    ways = {line[1] for line in found}
    wanted = [[line[0], way, *line[2:]] for line in wanted for way in ([line[1]] if line[1] else ways)]
    assert sorted(found) == sorted(wanted)
    assert {line[0] for line in found} == {"won", "return"}


def test_differences_are_those_of_the_report(place, page):
    runs = loaded(place)
    (chosen,) = {each["value"] for each in page.all("option", "selected")}
    assert chosen == "vgm2p"
    found = sorted(differences_of(runs, "vgm2p"), key=lambda each: ["won", "return"].index(each.measure))
    wanted = [[f"{value:.6g}" for value in each.cell] for each in found]
    rows = [(tag, each) for tag, each in page.elements if tag in ("tr", "td")]
    shown = []
    for (tag, row), following in zip(rows, range(len(rows)), strict=True):
        if tag == "tr" and row.get("data-base") == "vgm2p":
            assert "hidden" not in row
            cell = next(each for _, each in rows[following + 1 :] if "data-mean" in each)
            shown.append([cell[f"data-{key}"] for key in ("mean", "low", "high")])
    assert shown == wanted
    assert len([row for row in page.all("tr", "data-base") if "hidden" in row]) == 8  # of the two other methods


def test_a_task_without_the_named_method_says_so(tmp_path):
    write_runs(tmp_path)
    runs = loaded(tmp_path)
    elsewhere = [
        replace(run, results={**run.results, "experiment": "other task"}) for run in runs if run.name != "third"
    ]
    write_page([*runs, *elsewhere], tmp_path / "page.html", versus="third")
    page = Page(tmp_path / "page.html")
    assert "other task: no run of versus=third; another method is compared with the others" in page.source
    assert f"{EXPERIMENT}: no run" not in page.source
    assert [each["value"] for each in page.all("option", "selected")] == ["third", "vgm2p"]


def test_nothing_from_a_run_folder_becomes_markup(page):
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"img", "iframe", "object", "embed", "link", "base", "form"}
    assert len(page.all("script")) == 2
    assert not [key for _, each in page.elements for key in each if key.startswith("on") or key == "style"]
    assert HOSTILE[:100] in "".join(page.text["b"])
    assert "\x1b" not in page.source
    assert "label=" in "".join(page.text["code"])
    assert "<b>x</b>" in "".join(page.text["li"])
    assert not [each for each in page.all("a", "href") if not each["href"].startswith(("#", "./"))]


def test_the_page_needs_nothing_from_outside_and_allows_only_its_own_script_and_style(page):
    assert not OUTSIDE.search(page.source)
    (policy,) = [each["content"] for each in page.all("meta", "content") if "http-equiv" in each]
    script = page.source.rpartition("<script>")[2].partition("</script>")[0]
    style = page.source.partition("<style>")[2].partition("</style>")[0]
    for name, text in (("script", script), ("style", style)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


def test_the_chart_of_returns_begins_at_update_0_and_holds_bands_and_seeds(page):
    data = json.loads(page.source.partition('id="data">')[2].partition("</script>")[0])
    chart = data["e0-return"]
    assert {"vgm2p", "bc_flow"} < {line["n"] for line in chart["lines"]}
    for line in chart["lines"]:
        assert line["x"] == [0, 5000, 10_000]
        assert all(low < y < high for low, y, high in zip(line["l"], line["y"], line["h"], strict=True))
    assert data["e0-policy_loss"]["log"] is True
    assert data["e0-critic_loss"]["log"] is False  # it falls below 0
    assert len([each for each in page.all("path") if each.get("class") == "seed"]) == 3 * 5 * 2  # won and return


def test_equal_runs_give_equal_pages_and_a_page_can_be_written_again(place, page, tmp_path):
    target = tmp_path / "report.html"
    for _ in range(2):
        check_target(target, tmp_path)
        write_page(loaded(place), target, ["left out: <b>x</b>"])
    assert target.read_text() == page.source
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]


def test_only_an_earlier_page_is_replaced(tmp_path):
    (tmp_path / "mine.html").write_text("<html>mine</html>")
    (tmp_path / "link.html").symlink_to(tmp_path / "mine.html")
    check_target(tmp_path / "new" / "page.html", tmp_path / "new")
    for name, error, says in (
        ("mine.html", StorageError, "no report has written it"),
        ("link.html", StorageError, "not a plain file"),
        ("none/page.html", StorageError, "there is no folder"),
        ("page.csv", ConfigError, "ends in .html"),
    ):
        with pytest.raises(error, match=says):
            check_target(tmp_path / name, tmp_path)


def test_the_best_film_is_embedded_and_a_large_one_is_linked(tmp_path, monkeypatch):
    folders = write_runs(tmp_path)
    add_film(folders["vgm2p"], "a", FILM + b"worse", returned=1.0)
    add_film(folders["vgm2p"], "b", FILM + b"better", episode=3, returned=9.0)
    add_film(folders["bc_flow"], "javascript:x y", FILM + bytes(1000))
    add_film(folders["third"], "no-film", b"secret text")
    (folders["third"].evaluations / "linked").symlink_to(folders["vgm2p"].evaluations / "b")
    monkeypatch.setattr(videos, "EMBEDDED", 500)
    written = write_page(loaded(tmp_path), tmp_path / "page.html")
    page = Page(tmp_path / "page.html")
    (film,) = page.all("video")
    assert base64.b64decode(film["src"].removeprefix("data:video/mp4;base64,")) == FILM + b"better"
    assert "episode 3, return 9.00" in "".join(page.text["span"])
    (link,) = [each["href"] for each in page.all("a") if "mp4" in each["href"]]
    assert link == f"./{EXPERIMENT}/bc_flow/evaluations/javascript%3Ax%20y/episode0.mp4"
    assert base64.b64encode(b"secret").decode() not in page.source
    assert written.line.endswith("videos: 1 embedded, 1 linked")


def test_an_evaluation_elsewhere_is_an_experiment_without_curves_and_without_films(tmp_path):
    folders = write_runs(tmp_path)
    for label in ("vgm2p", "bc_flow"):
        add_film(folders[label], "here", FILM + b"here")
        add_film(folders[label], "there", FILM + b"elsewhere", returned=99.0)
        write_json(
            folders[label].evaluations / "there" / "results.json", {"updates": 10_000, "env": {"_target_": "other"}}
        )
        add_film(folders[label], "earlier", FILM + b"earlier", returned=98.0, update=5000)
    (first, *rest) = loaded(tmp_path)
    moved = replace(first, results={**first.results, "experiment": "task in other"}, curve={}, wins={})
    write_page([first, *rest, moved], tmp_path / "page.html")
    page = Page(tmp_path / "page.html")
    assert page.text["h2"] == [EXPERIMENT, "task in other", "Runs and commands"]
    films = [base64.b64decode(each["src"].partition(",")[2]) for each in page.all("video")]
    assert films == [FILM + b"here"] * 2
    assert "e1-return" not in page.source
    assert len([each for each in page.all("div") if each.get("class") == "run"]) == 3


def test_a_damaged_log_of_diagnostics_is_named_and_hides_nothing_else(tmp_path):
    folders = write_runs(tmp_path)
    folders["vgm2p"].metrics.write_text("update,seed,policy_loss\n500,0,much\n")
    folders["third"].metrics.write_text("update,seed,policy_loss\n500,0,0.5\n1000,0,0.25\n")  # one seed has no band
    change(folders["bc_flow"], manifest={"data": {}, "spec": {}, "git": None})
    write_page(loaded(tmp_path), tmp_path / "page.html")
    page = Page(tmp_path / "page.html")
    assert "a cell of metrics.csv is missing, or no number" in "".join(page.text["li"])
    data = json.loads(page.source.partition('id="data">')[2].partition("</script>")[0])
    assert [line["n"] for line in data["e0-policy_loss"]["lines"]] == ["bc_flow", "third"]
    assert [("l" in line) for line in data["e0-policy_loss"]["lines"]] == [True, False]
    assert "not recorded" in page.source


def test_the_page_of_one_run_has_no_differences_and_says_what_it_shows(tmp_path):
    folders = write_runs(tmp_path)
    for label in ("bc_flow", "third"):
        shutil.rmtree(folders[label].path)
    write_page(loaded(tmp_path), tmp_path / "page.html")
    page = Page(tmp_path / "page.html")
    assert page.text["h1"] == [f"vgm2p on {EXPERIMENT}"]
    assert "Differences" not in page.text["h3"]
    assert page.text["code"] == ["python -m vgm2p fit algo=vgm2p 'label=my run'"]


def test_markup_escapes_text_and_attributes_and_data():
    assert (
        element("p", "<&\x1b", None, 3, title='"<', hidden=True, lang=None)
        == '<p title="&quot;&lt;" hidden>&lt;&amp;\\x1b3</p>'
    )
    assert json.loads(data_block("</script>\u2028&")) == "</script>\u2028&"
    assert "<" not in data_block("</script>")


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("numbers", [[1.0, 5000.0], [3.0, 3.0], [1e-9, 1e-8], [2e30, 3e30], [0.999, 1.0], [5.0]])
def test_axes_hold_their_numbers_and_have_some_ticks(numbers, log):
    scale = scale_of(numbers, log)
    assert all(0 <= scale.share(value) <= 1 for value in numbers)
    ticks = scale.ticks()
    assert 2 <= len(ticks) <= 12
    assert all(-1e-9 <= scale.share(tick) <= 1 + 1e-9 for tick in ticks)
    assert scale_of([], log) == Scale(0.0, 1.0)


def test_long_lines_keep_their_ends():
    assert thinned(5, 10) == [0, 1, 2, 3, 4]
    assert thinned(1000, 4) == [0, 333, 666, 999]
