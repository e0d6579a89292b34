"""Our loggers: metrics.csv and TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger

from vgm2p.run.csv_log import CsvLog
from vgm2p.training.run import Run


class MetricsCsv(Logger):
    """metrics.csv: one row per seed at every multiple of `log_every` updates (implements `RowLogger`).

    The rows do not depend on the size of a block. When a run resumes, later rows are deleted first (`cut_logs`).
    """

    def __init__(self, file: CsvLog) -> None:
        self.file = file

    @classmethod
    def for_run(cls, run: Run) -> MetricsCsv:
        """Return the logger of a run folder."""
        return cls(run.folder.log_metrics())

    @property
    def name(self) -> str:
        """The name of the file without its ending."""
        return self.file.path.stem

    @property
    def version(self) -> str:
        """Empty, because a folder holds one run."""
        return ""

    @property
    def save_dir(self) -> str:
        """The run folder."""
        return str(self.file.path.parent)

    def log_rows(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Append rows, and sync them to disk."""
        self.file.append(rows)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Ignore metrics that are not rows of diagnostics."""

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Ignore the settings, because manifest.json has them."""


class TensorBoard(TensorBoardLogger):
    """Lightning's TensorBoard logger in `<run folder>/tensorboard`. In a resumed run, it hides the later events."""

    @classmethod
    def for_run(cls, run: Run, **keys: Any) -> TensorBoard:
        """Return the logger of a run; `keys` are arguments of Lightning's class."""
        place: dict[str, Any] = {"save_dir": run.folder.path / "tensorboard", "name": "", "version": ""}
        return cls(**place | {"default_hp_metric": False, "purge_step": run.point.update} | keys)

    def finalize(self, status: str) -> None:
        """Write the remaining events. If the file is opened again after this, no events are hidden."""
        super().finalize(status)
        if self._experiment is not None:
            self._experiment.purge_step = None
