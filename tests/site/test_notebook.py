"""The notebook of the quick start: stored without outputs, or with small ones, and shown on the site. `make notebook` runs it."""

import json

from tests.house import ROOT
from tools.notebook import LARGEST, NOTEBOOK, SMALL
from tools.site.notebook import notebook_page
from vgm2p.config.compose import composed


def test_the_stored_notebook_is_small_and_has_one_place_for_its_budget():
    text = NOTEBOOK.read_text()
    cells = json.loads(text)["cells"]
    assert len(text.encode()) < LARGEST
    assert [cell["source"] for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    for cell in cells:
        if cell["cell_type"] == "code":
            compile("".join(cell["source"]), cell["id"], "exec")
            assert not any(output["output_type"] == "error" for output in cell["outputs"])
    assert composed("fit", [f"{key}={'null' if value is None else value}" for key, value in SMALL.items()])


def test_a_notebook_becomes_a_page_with_its_programs_and_outputs():
    page = notebook_page((ROOT / "notebooks/quickstart.ipynb").read_text())
    assert page.startswith("# The quick start in Python")
    assert "```python\nkeys = {}\n" in page
    shown = notebook_page(
        json.dumps(
            {
                "cells": [
                    {
                        "cell_type": "code",
                        "source": ["1\n", "2"],
                        "outputs": [
                            {"output_type": "stream", "text": ["a\n", "b\n"]},
                            {"output_type": "execute_result", "data": {"text/plain": ["2"]}},
                            {
                                "output_type": "display_data",
                                "data": {"image/png": "AAAA\n", "text/plain": ["<Figure>"]},
                            },
                        ],
                    }
                ]
            }
        )
    )
    assert shown == (
        "```python\n1\n2\n```\n\n```text\na\nb\n```\n\n```text\n2\n```\n\n![picture](data:image/png;base64,AAAA)\n"
    )
