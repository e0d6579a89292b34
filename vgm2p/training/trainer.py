"""Lightning's Trainer with its own clock, checkpoints and progress switched off."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, Trainer
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers import Logger

from vgm2p.config.plugins import with_nested
from vgm2p.errors import ConfigError
from vgm2p.run.checkpoint import DurableCheckpointIO

BLOCK = {"cpu": 50, "cuda": 200}  # updates per block for `block_updates: auto`
PROFILERS = "lightning.pytorch.profilers"  # where the reports of `trainer.profiler` come from


def make_trainer(
    device: torch.device,
    precision: str,
    callbacks: Sequence[Callback] = (),
    loggers: Sequence[Logger] = (),
    folder: Path | None = None,
    further: Mapping[str, Any] | None = None,
) -> Trainer:
    """Return a Trainer whose own clock, checkpoints and logs are off; ours count updates.

    Args:
        device: where to train.
        precision: as Lightning names it.
        callbacks: in the order in which they act.
        loggers: those of the run.
        folder: where Lightning puts further files, such as profiles.
        further: keys of Lightning's Trainer that a user set; nodes with a `_target_` become objects.

    Raises:
        ConfigError: where Lightning refuses a key's value.
    """
    given = {key: with_nested(value) for key, value in (further or {}).items()}
    if "profiler" in given:
        logging.getLogger(PROFILERS).setLevel(logging.INFO)
    try:
        return Trainer(
            accelerator="gpu" if device.type == "cuda" else "cpu",
            devices=1,
            precision=precision,  # type: ignore[arg-type]
            max_epochs=1,
            logger=list(loggers),
            callbacks=list(callbacks),
            plugins=[DurableCheckpointIO(), LightningEnvironment()],
            enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            **{"default_root_dir": folder} | given,
        )
    except Exception as error:  # Lightning and the classes of nested nodes raise many kinds
        if not given:
            raise
        raise ConfigError(f"trainer: {str(error).strip().splitlines()[0]}") from error


def quiet() -> None:
    """Silence Lightning's advice and torch's notes that do not concern a manual, single-device run."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\..*")
