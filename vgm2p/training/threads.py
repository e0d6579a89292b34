"""The number of CPU threads of a run: as many as this process may use."""

from __future__ import annotations

import torch

from vgm2p.config.settings import FitSettings
from vgm2p.io.limits import usable_cpus


def set_threads(settings: FitSettings) -> int:
    """Set the CPU threads to `trainer.threads` and return them. `auto`: 1 with comparison runs, else all usable."""
    asked = settings.trainer.threads
    threads = asked if isinstance(asked, int) else 1 if settings.compare else usable_cpus()
    torch.set_num_threads(threads)
    return threads
