"""Wrong words of `report`: no runs, and pages that cannot be written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.cli.answers import Wrong
from tests.cli.wrong_keys import command


def page(name: str, content: str | None = None) -> Callable[[Path], list[str]]:
    """A report of a folder without runs, whose page has this name; with `content`, the file exists already."""

    def prepare(scratch: Path) -> list[str]:
        if content is not None:
            (scratch / name).write_text(content)
        return ["report", str(scratch), f"html={scratch / name}"]

    return prepare


REPORTS = [
    Wrong("report without runs", command("report"), 2, "run folders"),
    Wrong("report of nothing", command("report", "/nowhere"), 66, "/nowhere"),
    Wrong("no such table of the paper", command("report", "table=3"), 2, "table"),
    Wrong("a table of the paper as a page", command("report", "table=2", "html=a.html"), 2, "table=2 reads neither"),
    Wrong("a base without its use", command("report", "table=2", "versus=vgm2p"), 2, "only with improvement=true"),
    Wrong("normalised scores of any runs", command("report", "runs", "normalised=true"), 2, "add table=1 or table=2"),
    Wrong("an improvement over nothing", command("report", "runs", "improvement=true"), 2, "versus=<method>"),
    Wrong("runs for a table of the paper", command("report", "/nowhere", "table=1"), 66, "/nowhere"),
    Wrong("unknown way to compare", command("report", "runs", "acting=worst"), 2, "own or best"),
    Wrong("page of no runs", page("page.html"), 66, "none of these folders contains a finished run"),
    Wrong("page in no folder", page("none/page.html"), 74, "there is no folder"),
    Wrong("page that is no page", page("page.txt"), 2, "ends in .html"),
    Wrong("page without a name", command("report", "runs", "html="), 2, "ends in .html"),
    Wrong("page over a file of the user", page("page.html", "<html>mine</html>"), 74, "no report has written it"),
]
