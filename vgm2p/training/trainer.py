"""Lightning's Trainer without its own clock, checkpoints and progress bar."""

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

BLOCK = {"cpu": 50, "cuda": 200}  # number of updates per block for `block_updates: auto`
PROFILERS = "lightning.pytorch.profilers"  # the Python logger that prints the reports of `trainer.profiler`


def make_trainer(
    device: torch.device,
    precision: str,
    callbacks: Sequence[Callback] = (),
    loggers: Sequence[Logger] = (),
    folder: Path | None = None,
    further: Mapping[str, Any] | None = None,
) -> Trainer:
    """Return a Trainer without clock, checkpoints and progress bar of its own; our callbacks replace them.

    Args:
        device: the training device.
        precision: Lightning's name of the precision.
        callbacks: the callbacks, in the order in which they act.
        loggers: the loggers of the run.
        folder: the folder for further files of Lightning, such as profiles.
        further: keys of Lightning's Trainer that the user set; nodes with a `_target_` become objects.

    Raises:
        ConfigError: if Lightning refuses the value of a key.
    """
    given = dict(further or {})
    if "profiler" in given:
        logging.getLogger(PROFILERS).setLevel(logging.INFO)
    try:
        given = {key: with_nested(value) for key, value in given.items()}
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
    except Exception as error:  # Lightning and the classes of nested nodes raise many types of errors
        if not given:
            raise
        raise ConfigError(f"trainer: {str(error).strip().splitlines()[0]}") from error


def quiet() -> None:
    """Silence Lightning's log messages below ERROR, and its warnings."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\..*")
