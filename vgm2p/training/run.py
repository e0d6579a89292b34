"""The objects that all parts of a fit use. `vgm2p fit` makes them once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from vgm2p.config.settings import FitSettings
from vgm2p.envs.base import VectorEnv
from vgm2p.io.text import say
from vgm2p.run.folder import RunFolder
from vgm2p.run.resume_point import ResumePoint
from vgm2p.signals import StopFlag


@dataclass(frozen=True)
class Run:
    """One fit on this machine.

    Attributes:
        settings: the configuration.
        folder: the run folder.
        point: the point from which it continues.
        device: the training device.
        env: the environment for evaluation; None: no evaluation.
        stop: tells whether a signal asked to stop.
        say: prints one line.
    """

    settings: FitSettings
    folder: RunFolder
    point: ResumePoint
    device: torch.device
    env: VectorEnv | None
    stop: StopFlag
    say: Callable[[str], None] = say


def device_of(accelerator: str) -> torch.device:
    """Return the device for `trainer.accelerator` on this machine."""
    return torch.device("cuda" if accelerator != "cpu" and torch.cuda.is_available() else "cpu")


def wanted(choice: bool | str, device: torch.device) -> bool:
    """Return a choice of auto | true | false as a bool; `auto` is true on CUDA."""
    return device.type == "cuda" if choice == "auto" else bool(choice)
