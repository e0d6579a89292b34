"""metrics.csv and TensorBoard: means of the diagnostics over each window of `every` updates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer

from vgm2p.run.folder import CsvLog


class MetricsLog(Callback):
    """Writes one row per seed at every multiple of `every` updates; rows do not depend on the block size."""

    def __init__(self, file: CsvLog, every: int, tensorboard: Path | None) -> None:
        self.file, self.every, self.tensorboard = file, every, tensorboard
        self.latest: dict[str, float] = {}
        self._writer: Any = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open TensorBoard, hiding events later than the restored update."""
        if self.tensorboard is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self.tensorboard), purge_step=pl_module.done)  # type: ignore[arg-type]

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *unused: Any) -> None:
        """Log at interval edges: one host transfer."""
        module: Any = pl_module
        if module.done % self.every:
            return
        means = module.diagnostics.means()
        module.diagnostics.clear()
        if not means:
            return
        seeds = module.algorithm.seeds
        rows = [
            {"update": module.done, "seed": seed} | {name: values[s] for name, values in means.items()}
            for s, seed in enumerate(seeds)
        ]
        self.file.append(rows)
        self.latest = {name: sum(values) / len(values) for name, values in means.items()}
        self._to_tensorboard(rows)

    def _to_tensorboard(self, rows: list[dict[str, Any]]) -> None:
        if self._writer is None:
            return
        for row in rows:
            for name, value in row.items():
                if name not in ("update", "seed"):
                    self._writer.add_scalar(f"{name}/seed{row['seed']}", value, row["update"])

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Close TensorBoard's file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
