"""A notebook as a page: its text, its programs, and what they printed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any


def notebook_page(content: str) -> str:
    """Return a notebook (the text of its file) as Markdown. Pictures of its outputs are part of the page."""
    return "\n\n".join(part for cell in json.loads(content)["cells"] for part in _parts(cell)) + "\n"


def _parts(cell: dict[str, Any]) -> Iterator[str]:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield source
        return
    yield f"```python\n{source}\n```"
    for output in cell["outputs"]:
        data = output.get("data", {})
        if "image/png" in data:
            yield f"![picture](data:image/png;base64,{''.join(data['image/png']).replace(chr(10), '')})"
        elif text := "".join(output.get("text", data.get("text/plain", []))).rstrip():
            yield f"```text\n{text}\n```"
