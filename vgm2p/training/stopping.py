"""A signal ends training after the present block, when the other callbacks have saved."""

from __future__ import annotations

from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from vgm2p.run.checkpoint import checkpoint_name, newest_intact, update_of
from vgm2p.run.folder import RunFolder
from vgm2p.signals import StopFlag
from vgm2p.training.module import OfflineModule


class Stopping(Checkpoint):
    """Ends the run if a signal arrived.

    It is the last callback, because its message says what is saved. Lightning calls subclasses of its `Checkpoint`
    after all other callbacks.
    """

    def __init__(self, folder: RunFolder, stop: StopFlag) -> None:
        self.folder, self.stop = folder, stop

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Install the signal handlers again, because Lightning has just installed its own."""
        self.stop.install()
        self._end_if_asked(pl_module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *unused: Any) -> None:
        """End the run after a block if a signal arrived."""
        self._end_if_asked(pl_module)

    def _end_if_asked(self, module: LightningModule) -> None:
        """Raise Interrupted if a signal arrived."""
        assert isinstance(module, OfflineModule)
        if not self.stop.requested():
            return
        if (self.folder.checkpoints / checkpoint_name(module.done)).exists():
            state = "state saved; the same command continues from there"
        else:
            kept, _ = newest_intact(self.folder.checkpoints)
            place = f"the checkpoint of update {update_of(kept)}" if kept else "the beginning"
            state = f"not saved; the same command continues from {place}"
        raise self.stop.interruption(f"stopped after update {module.done}, {state}")
