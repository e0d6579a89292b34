"""The picture of a finished run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning import Callback

from vgm2p.report.curves import run_plot
from vgm2p.training.run import Run


class LearningCurve(Callback):
    """Draws plots/learning.png: returns and training diagnostics (implements `ResultsReader`)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def for_run(cls, run: Run) -> LearningCurve:
        """Return the callback of a run folder."""
        return cls(run.folder.path)

    def on_results(self, results: Mapping[str, Any]) -> None:
        """Draw; the picture is made from the files of the folder alone."""
        run_plot(self.folder)
