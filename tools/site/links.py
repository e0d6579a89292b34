"""Links of the documentation to files of the repository, as links of the site.

A page of docs/ may link to any file, relative to its own place, such as `../vgm2p/rng.py`. Git hosts and editors follow
such links. On the site, the file is a page of its own.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from pathlib import Path

from tools.site.notebook import notebook_page

ROOT = Path(__file__).resolve().parents[2]
# files outside docs/ that are pages of the site
TOP_PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changes.md",
    "notebooks/quickstart.ipynb": "notebook.md",
}
LINK = re.compile(r"(\]\()([^)\s#:]+)(#[^)\s]*)?(\))")
FENCE = re.compile(r"^(```.*?^```)", re.S | re.M)


def home(page: str) -> str:
    """Return the path in the repository of a page of the site."""
    return next((path for path, there in TOP_PAGES.items() if there == page), f"docs/{page}")


def place(path: str) -> str:
    """Return the path in the site of a file of the repository."""
    if path in TOP_PAGES:
        return TOP_PAGES[path]
    return path.removeprefix("docs/") if path.startswith("docs/") else f"source/{path}.md"


def outside(text: str, page: str) -> list[str]:
    """Return the files outside docs/ that a page links to, as paths in the repository."""
    found = []
    for part in FENCE.split(text):
        if not part.startswith("```"):
            targets = [_target(match[2], page) for match in LINK.finditer(part)]
            found += [path for path in targets if not path.startswith("docs/") and (ROOT / path).is_file()]
    return found


def site_links(text: str, page: str) -> str:
    """Return the text of a page with every link to a file of the repository as a link of the site."""
    parts = FENCE.split(text)
    return "".join(part if part.startswith("```") else LINK.sub(_moved(page), part) for part in parts)


def top_page(path: str) -> str:
    """Return the text of a page that lies outside docs/, a notebook as Markdown."""
    text = (ROOT / path).read_text()
    return notebook_page(text) if path.endswith(".ipynb") else text


def source_page(path: str) -> str:
    """Return the text of the page that shows a file of the repository."""
    text = (ROOT / path).read_text()
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall(r"`+", text)), 3)
    language = {"py": "python", "yaml": "yaml", "md": "markdown", "toml": "toml"}.get(path.rpartition(".")[2], "text")
    return f"---\nsearch:\n  exclude: true\n---\n\n# {path}\n\n{fence}{language}\n{text}\n{fence}\n"


def _target(link: str, page: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(home(page)), link))


def _moved(page: str) -> Callable[[re.Match[str]], str]:
    """Return what replaces a link of `page`."""

    def link(match: re.Match[str]) -> str:
        path = _target(match[2], page)
        if not (ROOT / path).is_file():
            return match[0]  # mkdocs says that it is missing
        there = posixpath.relpath(place(path), posixpath.dirname(page) or ".")
        return f"{match[1]}{there}{match[3] or ''}{match[4]}"

    return link
