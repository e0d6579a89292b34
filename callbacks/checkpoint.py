"""Checkpoints at intervals in updates, and on signals. Lightning's ModelCheckpoint counts optimiser steps: not used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from vgm2p.errors import Diverged, ServiceError
from vgm2p.run.checkpoint import checkpoint_name, prune
from vgm2p.signals import StopFlag
from vgm2p.training.module import OfflineModule
from vgm2p.training.parts import evaluation_logs
from vgm2p.training.run import Run


class SaveCheckpoint(Checkpoint):
    """Saves at multiples of `every` updates, at the end of training, and when a signal arrives."""

    def __init__(self, folder: Path, every: int, total: int, keep: int, stop: StopFlag) -> None:
        self.folder, self.every, self.total, self.keep, self.stop = folder, every, total, keep, stop

    @classmethod
    def for_run(cls, run: Run) -> SaveCheckpoint:
        """Return the callback of a run, with its settings `checkpoint_every` and `checkpoint_keep`."""
        settings = run.settings
        return cls(
            run.folder.checkpoints, settings.checkpoint_every, settings.updates, settings.checkpoint_keep, run.stop
        )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save if a signal arrived before the first update."""
        if self.stop.requested():
            self.save(trainer, pl_module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *unused: Any) -> None:
        """Save at a multiple of `every`, at the last update, and after a signal."""
        assert isinstance(pl_module, OfflineModule)
        done = pl_module.done
        if done % self.every == 0 or done == self.total or self.stop.requested():
            self.save(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save if another callback ended training before the last update."""
        self.save(trainer, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Save when an environment fails in this process, or no seed is left. A resumed run repeats what failed.

        `save` writes nothing if asynchronous evaluations of earlier updates were lost.
        """
        if isinstance(exception, ServiceError | Diverged) and pl_module.done:
            self.save(trainer, pl_module)

    def save(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the checkpoint of the present update, unless it exists, and delete old ones.

        First it waits until all evaluations of earlier updates are on disk. (A resumed run repeats an evaluation of the
        present update.) If a signal leaves no time for this, nothing is written: an older checkpoint stays the newest,
        and the same command repeats what is missing.
        """
        assert isinstance(pl_module, OfflineModule)
        done = pl_module.done
        path = self.folder / checkpoint_name(done)
        if path.exists():
            return
        if all(evaluation.wait_for_earlier(done) for evaluation in evaluation_logs(trainer)):
            trainer.save_checkpoint(path)
            prune(self.folder, self.keep)
