"""Our loggers: metrics.csv and TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger

from vgm2p.run.folder import CsvLog
from vgm2p.training.run import Run


class MetricsCsv(Logger):
    """metrics.csv: one row per seed at every multiple of `log_every` updates (implements `RowLogger`).

    Rows do not depend on the size of a block, and those later than a restored update are cut off before it goes on.
    """

    def __init__(self, file: CsvLog) -> None:
        self.file = file

    @classmethod
    def for_run(cls, run: Run) -> MetricsCsv:
        """Return the logger of a run folder."""
        return cls(run.folder.log_metrics())

    @property
    def name(self) -> str:
        """The file's name."""
        return self.file.path.stem

    @property
    def version(self) -> str:
        """Nothing: a folder holds one run."""
        return ""

    @property
    def save_dir(self) -> str:
        """The run folder."""
        return str(self.file.path.parent)

    def log_rows(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Append rows durably."""
        self.file.append(rows)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Leave out what is no row of diagnostics."""

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Leave them out: manifest.json has them."""


class TensorBoard(TensorBoardLogger):
    """Lightning's TensorBoard logger in `<run folder>/tensorboard`; hides events later than a restored update."""

    @classmethod
    def for_run(cls, run: Run, **keys: Any) -> TensorBoard:
        """Return the logger of a run; `keys` are those of Lightning's class."""
        place: dict[str, Any] = {"save_dir": run.folder.path / "tensorboard", "name": "", "version": ""}
        return cls(**place | {"default_hp_metric": False, "purge_step": run.point.update} | keys)

    def finalize(self, status: str) -> None:
        """Write what is left; a file that is opened again after this hides nothing."""
        super().finalize(status)
        if self._experiment is not None:
            self._experiment.purge_step = None
