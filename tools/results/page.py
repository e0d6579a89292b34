"""The file docs/results.md: first the half of `make results`, then the half of `make results-smax`."""

from __future__ import annotations

from pathlib import Path

from vgm2p.io.files import write_atomic

BORDER = "<!-- from here on: make results-smax -->"


def halves(docs: Path) -> tuple[str, str]:
    """Return the present text about robots and about battles. Each command changes only its own half."""
    page = docs / "results.md"
    robots, _, battles = (page.read_text() if page.is_file() else "").partition(BORDER)
    return robots.strip(), battles.strip()


def save(docs: Path, robots: str, battles: str) -> None:
    """Write the page."""
    parts = [robots, BORDER, battles] if battles else [robots]
    docs.mkdir(parents=True, exist_ok=True)
    write_atomic(docs / "results.md", "\n\n".join(parts) + "\n")
    print(f"written to {docs / 'results.md'}")
