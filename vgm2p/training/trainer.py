"""Lightning's Trainer with its own clock off, threads, and the size of a block of updates."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from lightning import Callback, Trainer
from lightning.fabric.plugins.environments.lightning import LightningEnvironment

from vgm2p.run.checkpoint import DurableCheckpointIO
from vgm2p.training.threads import usable_cpus

BLOCK = {"cpu": 50, "cuda": 200}


def make_trainer(config: Mapping[str, Any], callbacks: list[Callback]) -> Trainer:
    """Return a Trainer whose own clock, checkpoints and logs are off; ours count updates."""
    return Trainer(
        accelerator={"cuda": "gpu"}.get(config["trainer"]["accelerator"], config["trainer"]["accelerator"]),
        devices=1,
        precision=config["trainer"]["precision"],
        max_epochs=1,
        logger=False,
        callbacks=callbacks,
        plugins=[DurableCheckpointIO(), LightningEnvironment()],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )


def set_threads(config: Mapping[str, Any]) -> int:
    """Set and return the CPU threads of `trainer.threads`; `auto`: one beside comparison runs, else all usable."""
    threads = config["trainer"]["threads"]
    if threads == "auto":
        threads = 1 if config["compare"] else usable_cpus()
    torch.set_num_threads(threads)
    return threads


def quiet() -> None:
    """Silence Lightning's advice and torch's notes that do not concern a manual, single-device run."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\..*")
