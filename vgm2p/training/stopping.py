"""How a signal ends training: after the block under way, once everything else has saved."""

from __future__ import annotations

from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from vgm2p.run.checkpoint import checkpoint_name, newest_intact, update_of
from vgm2p.run.folder import RunFolder
from vgm2p.signals import StopFlag
from vgm2p.training.module import OfflineModule


class Stopping(Checkpoint):
    """Ends the run when a signal asked to stop.

    The last of all callbacks: it says what is on disk. Lightning puts subclasses of its `Checkpoint` behind the others.
    """

    def __init__(self, folder: RunFolder, stop: StopFlag) -> None:
        self.folder, self.stop = folder, stop

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From here on signals wait for a safe point (Lightning has just installed its own handlers)."""
        self.stop.install()
        self._end_if_asked(pl_module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *unused: Any) -> None:
        """End after a block."""
        self._end_if_asked(pl_module)

    def _end_if_asked(self, module: LightningModule) -> None:
        """Raise Interrupted if a signal came."""
        assert isinstance(module, OfflineModule)
        if not self.stop.requested():
            return
        if (self.folder.checkpoints / checkpoint_name(module.done)).exists():
            state = "state saved; the same command continues from there"
        else:
            kept, _ = newest_intact(self.folder.checkpoints)
            place = f"the checkpoint of update {update_of(kept)}" if kept else "the beginning"
            state = f"which is not saved; the same command continues from {place}"
        raise self.stop.interruption(f"stopped after update {module.done}, {state}")
