"""The plot of a finished run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning import Callback

from vgm2p.report.curves import run_plot
from vgm2p.training.run import Run


class LearningCurve(Callback):
    """Draws plots/learning.png with returns and training diagnostics (implements `ResultsReader`)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def for_run(cls, run: Run) -> LearningCurve:
        """Return the callback of a run folder."""
        return cls(run.folder.path)

    def on_results(self, results: Mapping[str, Any]) -> None:
        """Draw the plot from the files of the run folder."""
        run_plot(self.folder)
