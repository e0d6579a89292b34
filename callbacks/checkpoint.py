"""Checkpoints by updates and on signals. Lightning's ModelCheckpoint counts optimiser steps and is not used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer

from vgm2p.errors import ServiceError
from vgm2p.run.checkpoint import checkpoint_name, prune
from vgm2p.signals import StopFlag


class Checkpoint(Callback):
    """Saves at multiples of `every`, at the end, and when a signal asks to stop; then ends the run.

    Comes after logs and evaluation in the list of callbacks: what a checkpoint implies is on disk before it.
    """

    def __init__(
        self,
        folder: Path,
        every: int,
        total: int,
        keep: int,
        stop: StopFlag,
        drain: Callable[[int], bool] = lambda done: True,
    ) -> None:
        self.folder, self.every, self.total, self.keep, self.stop = folder, every, total, keep, stop
        self.drain = drain

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From here on signals wait for a safe point (Lightning has just installed its own handlers)."""
        self.stop.install()
        self._end_if_asked(trainer, pl_module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *unused: Any) -> None:
        """Save at interval edges and on request."""
        done: int = pl_module.done  # type: ignore[assignment]
        if done % self.every == 0 or done == self.total:
            self.save(trainer, pl_module)
        self._end_if_asked(trainer, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Keep what was trained when games fail in this process; a resume makes up for the evaluation.

        Not where evaluations of earlier updates, in another process, are lost with it.
        """
        if isinstance(exception, ServiceError) and pl_module.done:
            self.save(trainer, pl_module)

    def save(self, trainer: Trainer, pl_module: LightningModule) -> bool:
        """Write the checkpoint of the present update unless it exists, and drop old ones; return whether it exists.

        Not before every evaluation of an earlier update is on disk (that of the present one is made up for on resume).
        Where a signal leaves no time for that, an older checkpoint stays the newest, and the same command repeats what
        is missing.
        """
        path = self.folder / checkpoint_name(pl_module.done)  # type: ignore[arg-type]
        if path.exists():
            return True
        if not self.drain(pl_module.done):  # type: ignore[arg-type]
            return False
        trainer.save_checkpoint(path)
        prune(self.folder, self.keep)
        return True

    def _end_if_asked(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.stop.requested():
            saved = self.save(trainer, pl_module)
            state = "state saved; the same command continues from there"
            if not saved:
                state = "an evaluation was cut off; the same command continues from the checkpoint before it"
            raise self.stop.interruption(f"stopped after update {pl_module.done}, {state}")
