"""The site builds without a warning, loads nothing from the network, and its tables say what conf/ says."""

import contextlib
import io
import logging
import re
from html.parser import HTMLParser

import pytest

from tests.house import ROOT
from tools.site.extras import extras
from tools.site.keys import keys_of, tables
from tools.site.links import outside, place, site_links
from vgm2p.cli import COMMANDS
from vgm2p.config.compose import config_folder
from vgm2p.config.words import SETTINGS

DOCS = ROOT / "docs"
LOADED = {"img": "src", "script": "src", "link": "href", "iframe": "src", "source": "src", "video": "src"}


class Loads(HTMLParser):
    """The addresses that a page loads by itself."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        keys = dict(attrs)
        if tag in LOADED and keys.get("rel") not in ("canonical", "next", "prev"):
            self.found.append(keys.get(LOADED[tag]) or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
    pytest.importorskip("mkdocstrings", reason="the extra `docs` is not installed")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    folder, said = tmp_path_factory.mktemp("site"), io.StringIO()
    handler = logging.StreamHandler(said)
    handler.setLevel(logging.WARNING)
    logging.getLogger("mkdocs").addHandler(handler)
    with contextlib.redirect_stderr(io.StringIO()):
        build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=False))
    logging.getLogger("mkdocs").removeHandler(handler)
    return folder, said.getvalue()


def test_the_site_builds_without_a_warning(site):
    folder, warnings = site
    assert warnings == ""
    assert {"index.html", "commands.html", "glossary.html", "troubleshooting.html", "api.html"} <= {
        path.name for path in folder.iterdir()
    }


def test_no_page_loads_anything_from_the_network(site):
    folder, _ = site
    pages = sorted(folder.rglob("*.html"))
    assert len(pages) > 40
    for page in pages:
        loads = Loads()
        loads.feed(page.read_text())
        outside = [address for address in loads.found if "//" in address and not address.startswith("data:")]
        assert outside == [], page
    styles = "".join(path.read_text() for path in folder.rglob("*.css"))
    assert not re.findall(r"(?:@import|url\()\s*['\"]?(?:https?:)?//", styles)


def test_the_api_page_has_signatures_and_docstrings(site):
    text = (site[0] / "api.html").read_text()
    assert 'id="vgm2p.load"' in text
    assert "doc-signature" in text


def test_every_command_has_its_table_of_keys(site):
    page, text = (DOCS / "commands.md").read_text(), (site[0] / "commands.html").read_text()
    headings = re.findall(r"^## (\w+)$", page, re.M)
    assert [name for name in COMMANDS if name not in headings] == []
    for name in SETTINGS:
        assert f"<!-- keys: {name} -->" in page
        for key in keys_of(config_folder() / f"{name}.yaml"):
            assert f"<code>{key.name}</code>" in text
            assert key.meaning or "." in key.name, key


def test_every_page_is_reached_from_the_navigation():
    nav = (ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")[2]
    missing = [name for path in DOCS.rglob("*.md") if (name := str(path.relative_to(DOCS))) not in nav]
    assert missing == []


def test_a_table_of_keys_has_names_defaults_and_comments(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text(
        "# What it is.\ndefaults:\n  - b\n\n# A number | of [x].\nn: 3\nnode:\n  # A word, see docs/data.md.\n"
        "  word: ${a.b}  # more\nhydra:\n  run: 1\n"
    )
    found = [(key.name, key.default, key.meaning) for key in keys_of(file, "p")]
    assert found == [("p.n", "3", "A number | of [x]."), ("p.node.word", "${a.b}", "A word, see docs/data.md. more")]
    text = tables("<!-- keys: data/vault as data -->", "algorithms/x.md")
    assert "| `data.source.clip` " in text
    assert "\\[-1, 1\\]" in text


def test_links_to_files_of_the_repository_lead_to_pages_of_the_site():
    text = "[a](../CONTRIBUTING.md#check) [b](../vgm2p/rng.py) [c](data.md)\n```\n[d](../vgm2p/rng.py)\n```\n"
    assert site_links(text, "architecture.md") == (
        "[a](contributing.md#check) [b](source/vgm2p/rng.py.md) [c](data.md)\n```\n[d](../vgm2p/rng.py)\n```\n"
    )
    assert outside(text, "architecture.md") == ["CONTRIBUTING.md", "vgm2p/rng.py"]
    assert site_links("[e](docs/data.md)", "index.md") == "[e](data.md)"
    assert place("docs/algorithms/dof.md") == "algorithms/dof.md"


def test_every_extra_says_what_it_adds():
    assert [
        name for name, (what, packages) in extras(ROOT / "pyproject.toml").items() if not what or not packages
    ] == []
