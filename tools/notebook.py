"""`make notebook` runs notebooks/quickstart.ipynb at a small budget; `--write` runs the full one and keeps its outputs.

    python -m tools.notebook [--write] [folder of the runs]

A cell with the small budget is added behind the one with the tag `parameters`. A cell that raises an error ends the
command.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

NOTEBOOK = Path(__file__).resolve().parents[1] / "notebooks" / "quickstart.ipynb"
SMALL = {
    "updates": 20,
    "eval_every": 20,
    "eval_episodes": 2,
    "net.width": 16,
    "net.depth": 1,
    "data.batch_size": 8,
    "logger.tensorboard": None,
    "callbacks.plot": None,
}
LARGEST = 300_000  # bytes of the notebook with its outputs


def run(budget: dict[str, Any] | None, folder: Path) -> Any:
    """Run the notebook and return it with its outputs. Raises nbclient's CellExecutionError if a cell fails.

    Args:
        budget: keys of `fit` for every training; None: those of the notebook.
        folder: where the runs go, and the working folder.
    """
    import nbformat
    from nbclient import NotebookClient

    notebook: Any = nbformat.read(NOTEBOOK, as_version=4)
    if budget is not None:
        place = next(i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", []))
        cell = copy.deepcopy(notebook.cells[place])
        cell.id, cell.source = "budget", f"keys = {budget!r}"
        notebook.cells.insert(place + 1, cell)
    NotebookClient(notebook, timeout=3600, resources={"metadata": {"path": str(folder)}}).execute()
    return notebook


def main() -> int:
    """Run the notebook; with `--write`, store its outputs in it. Return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.notebook")
    parser.add_argument(
        "--write", action="store_true", help="run the whole budget, and keep the outputs in the notebook"
    )
    parser.add_argument("folder", type=Path, nargs="?", help="working folder; default: a temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        done = run(None if options.write else SMALL, options.folder or Path(scratch))
    if options.write:
        text = json.dumps(done, indent=1, ensure_ascii=False)
        if len(text.encode()) > LARGEST:
            print(f"the notebook would have more than {LARGEST} bytes; print less", file=sys.stderr)
            return 1
        NOTEBOOK.write_text(text + "\n")
    print(f"{NOTEBOOK.name}: {len(done.cells)} cells ran")
    return 0


if __name__ == "__main__":
    sys.exit(main())
