"""Our loggers: metrics.csv and TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger
from torch.utils.tensorboard.summary import hparams
from torch.utils.tensorboard.writer import SummaryWriter

from vgm2p.config.settings import training_part
from vgm2p.run.csv_log import CsvLog
from vgm2p.run.fingerprint import leaves
from vgm2p.training.run import Run

BANDS = {  # chart -> tags of the mean and the ends of its 95 % interval
    name: (f"evaluation/{name}", f"evaluation/{name}_low", f"evaluation/{name}_high") for name in ("return", "win_rate")
}


class MetricsCsv(Logger):
    """metrics.csv: one row per seed for every `log_every` updates (implements `RowLogger`).

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
    """Lightning's TensorBoard logger in `<run folder>/tensorboard` (implements `SeedLogger`).

    With several seeds in one run, this folder has the means over seeds, and `seed<seed>` in it the numbers of a seed
    under the same names. A chart `evaluation` (Custom Scalars) shows the return with its interval. The settings are
    shown by HPARAMS. A resumed run hides the events after its checkpoint.
    """

    def __init__(self, *, purge_step: int | None = None, **keys: Any) -> None:
        super().__init__(purge_step=purge_step, **keys)
        self._purge_step = purge_step
        self._seeds: dict[int, SummaryWriter] = {}
        self._has_charts = False

    @classmethod
    def for_run(cls, run: Run, **keys: Any) -> TensorBoard:
        """Return the logger of a run; `keys` are arguments of Lightning's class."""
        place: dict[str, Any] = {"save_dir": run.folder.path / "tensorboard", "name": "", "version": ""}
        # the events of a checkpoint's own update stay; a finished run without its pictures logs its last update again
        purge = run.point.update + (run.point.checkpoint is not None)
        return cls(**place | {"default_hp_metric": False, "purge_step": purge} | keys)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Record the settings that change training, for HPARAMS."""
        super().log_hyperparams(params, *args, **kwargs)
        chosen = {name: params[name] for name in ("experiment", "algorithm", "updates") if name in params}
        flat = {name: _scalar(value) for name, value in leaves({**chosen, **training_part(params)})}
        # the first part would fix the columns for all runs of a folder
        _, start, end = hparams(flat, {})  # type: ignore[no-untyped-call]
        for summary in (start, end):
            self.experiment._get_file_writer().add_summary(summary)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write metrics, and before the first intervals the charts that show them as bands."""
        bands = {name: ["Margin", list(tags)] for name, tags in BANDS.items() if metrics.keys() >= {*tags}}
        if bands and not self._has_charts:
            self.experiment.add_custom_scalars({"evaluation": bands})
            self._has_charts = True
        super().log_metrics(metrics, step)
        self.experiment.flush()  # what is only in memory is lost when the process is killed

    def log_seed(self, seed: int, metrics: Mapping[str, float], step: int) -> None:
        """Write the numbers of one of several seeds to its own folder."""
        if seed not in self._seeds:
            folder = Path(self.log_dir) / f"seed{seed}"
            self._seeds[seed] = SummaryWriter(str(folder), purge_step=self._purge_step)
        for name, number in metrics.items():
            self._seeds[seed].add_scalar(self.LOGGER_JOIN_CHAR.join(filter(None, (self._prefix, name))), number, step)
        self._seeds[seed].flush()

    def finalize(self, status: str) -> None:
        """Write the remaining events. If a file is opened again after this, no events are hidden."""
        super().finalize(status)
        for writer in self._seeds.values():
            writer.close()
        self._seeds, self._purge_step = {}, None
        if self._experiment is not None:
            self._experiment.purge_step = None


def _scalar(value: Any) -> bool | float | str:
    """Return a setting as HPARAMS takes it."""
    return value if isinstance(value, bool | int | float | str) else "null" if value is None else str(value)
