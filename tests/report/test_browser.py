"""The page of a report in a headless Chromium: no error, no request, right numbers, sorting, keys, print, phone."""

import csv
import io

import pytest

from tests.report import browser as driver
from tests.report.paged_runs import HOSTILE, add_film, loaded, write_runs
from vgm2p.report.page.page import write_page
from vgm2p.report.tables import as_csv

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(driver.found() is None, reason="no Chromium (install one, or set CHROMIUM=<its path>)"),
]
ORDER = "[...document.querySelectorAll('table[data-measure=return] tbody tr')].map(row => row.cells[0].dataset.value)"
NUMBERS = """[...document.querySelectorAll('table[data-measure] td[data-way]')].map(cell => [
    cell.closest('table').dataset.measure, cell.closest('tr').cells[0].dataset.value, cell.dataset.way,
    cell.dataset.mean, cell.dataset.low, cell.dataset.high, cell.querySelector('b').textContent])"""
TITLE = "table[data-measure=return] thead th:nth-child({}) button"
STATE = "document.querySelector('table[data-measure=return] thead th:nth-child({})').ariaSort"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    folders = write_runs(folder, hostile=True)
    add_film(folders["vgm2p"], "film")
    write_page(loaded(folder), folder / "page.html", ["a notice with <img src=x onerror='window.hacked=3'>"], "bc_flow")
    return folder


@pytest.fixture(scope="module")
def chromium():
    with driver.Browser() as found:
        yield found


@pytest.fixture
def page(chromium, place):
    chromium.resize(1280, 900)
    chromium.open(place / "page.html")
    yield chromium
    assert chromium.problems == []
    assert [url for url in chromium.requests if not url.startswith(driver.OWN)] == []


def test_numbers_are_those_of_table_csv(page, place):
    table = list(csv.DictReader(io.StringIO(as_csv(loaded(place)))))
    shown = page.evaluate(NUMBERS)
    ways = sorted({line["act_noise"] for line in table} - {""})
    assert ways == ["0.0", "1.0"]
    expected = [
        [line["measure"], line["method"], way, line["mean"], line["ci95_low"], line["ci95_high"]]
        for line in table
        for way in ([line["act_noise"]] if line["act_noise"] else ways)  # one way to act: in each column of the page
    ]
    assert sorted(line[:6] for line in shown) == sorted(expected)
    assert all(abs(float(line[3]) - float(line[6])) <= 0.5 for line in shown)


def test_a_click_or_a_key_sorts_a_table(page):
    before = page.evaluate(ORDER)
    page.click(TITLE.format(3))  # act_noise 1: the highest mean first
    assert page.evaluate(ORDER) == ["vgm2p", HOSTILE, "bc_flow", "dataset mean", "random policy"]
    assert page.evaluate(STATE.format(3)) == "descending"
    page.press("Enter", 13, "\r")  # the button has the focus
    assert page.evaluate(ORDER) == ["random policy", "dataset mean", "bc_flow", HOSTILE, "vgm2p"]
    assert page.evaluate(STATE.format(3)) == "ascending"
    page.click(TITLE.format(1))
    assert page.evaluate(ORDER) == sorted(before)
    assert (page.evaluate(STATE.format(1)), page.evaluate(STATE.format(3))) == ("ascending", "none")


def test_names_and_notices_execute_nothing(page):
    assert page.evaluate("typeof window.hacked") == "undefined"
    assert page.evaluate("document.images.length") == 0
    assert HOSTILE in page.evaluate(ORDER)


def test_arrow_keys_and_the_pointer_show_the_values_at_an_update(page):
    page.evaluate("document.querySelector('[data-chart=e0-return]').focus()")
    page.press("End", 35)
    said = page.evaluate("document.getElementById('tip').innerText")
    assert said.startswith("update 10000")
    assert "vgm2p" in said
    assert "348.5" in said  # its mean
    page.press("Home", 36)
    assert page.evaluate("document.getElementById('tip').innerText").startswith("update 0")
    page.press("Escape", 27)
    assert page.evaluate("document.getElementById('tip').hidden") is True
    page.click("[data-chart=e0-return]")
    assert page.evaluate("document.getElementById('tip').innerText").startswith("update 5000")


def test_the_legend_hides_a_method_and_the_choice_changes_the_differences(page):
    shown = "[...document.querySelectorAll('.lines g[data-m=\"0\"]')].filter(e => !e.hasAttribute('hidden')).length"
    assert page.evaluate(shown) > 0
    page.click("[data-toggle='0']")
    assert page.evaluate(shown) == 0
    assert page.evaluate("document.querySelector(\"[data-toggle='0']\").ariaPressed") == "false"
    bases = "[...new Set([...document.querySelectorAll('tr[data-base]:not([hidden])')].map(row => row.dataset.base))]"
    assert page.evaluate(bases) == ["bc_flow"]
    page.evaluate(
        "(() => { const e = document.querySelector('[data-bases]'); e.value = 'vgm2p'; e.dispatchEvent(new Event('change')); })()"
    )
    assert page.evaluate(bases) == ["vgm2p"]


@pytest.mark.parametrize(("width", "dark"), [(390, False), (390, True), (1280, True)])
def test_the_page_fits_the_window_in_both_schemes(chromium, place, width, dark):
    chromium.resize(width, 844, dark)
    chromium.open(place / "page.html")
    assert chromium.evaluate("document.documentElement.scrollWidth") == width
    ground = chromium.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(20, 23, 28)" if dark else "rgb(255, 255, 255)")
    size = "getComputedStyle(document.querySelector('.plot text')).fontSize"
    assert chromium.evaluate(size) == "11.5px"  # text does not shrink with the window
    assert chromium.problems == []


def test_the_page_prints(page):
    content = page.printed()
    assert content.startswith(b"%PDF")
    assert 2 <= content.count(b"/Type /Page\n") <= 12
