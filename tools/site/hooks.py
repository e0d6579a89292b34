"""The hooks of mkdocs.yml: pages from files outside docs/, their links, tables of keys and extras.

mkdocs calls them by their names: `on_files` when it has listed the pages, `on_page_markdown` before it renders one.
"""

from __future__ import annotations

from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from tools.site.extras import with_extras
from tools.site.keys import tables
from tools.site.links import ROOT, TOP_PAGES, outside, place, site_links, source_page, top_page


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the top folder, and a page for every file that a page links to."""
    for path, page in TOP_PAGES.items():
        files.append(File.generated(config, page, content=top_page(path)))
    linked = [path for file in files.documentation_pages() for path in outside(file.content_string, file.src_uri)]
    for path in sorted(set(linked) - TOP_PAGES.keys()):
        files.append(File.generated(config, place(path), content=source_page(path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: MkDocsConfig, files: Files) -> str:
    """Return a page with links of the site for files of the repository, and with its tables of keys."""
    name = page.file.src_uri
    if name.startswith("source/"):
        return markdown
    return with_extras(tables(site_links(markdown, name), name), ROOT / "pyproject.toml")
