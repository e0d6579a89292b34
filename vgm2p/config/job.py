"""What Hydra knows about the job that runs now: a single run, or a cell of a sweep."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vgm2p.config.compose import typed_words


@dataclass(frozen=True)
class Job:
    """One job.

    Attributes:
        command: the command of the program.
        name: a name of this cell within its sweep; None: this is no sweep.
        words: the words of this run.
        out: its run folder or output, if that is known.
    """

    command: str
    name: str | None
    words: list[str]
    out: str | None


def this_job(cfg: Any) -> Job:
    """Return the job of this process, whose configuration is `cfg`."""
    config = HydraConfig.get()
    several = config.mode == RunMode.MULTIRUN
    out: str | None = None
    with contextlib.suppress(OmegaConfBaseException):  # `out` itself may be what is wrong
        out = OmegaConf.select(cfg, "out")
    name = cell_name(config.job.num) if several else None
    return Job(str(config.job.config_name), name, typed_words(config), out)


def cell_name(number: int) -> str:
    """Return the name of a cell that a launcher has started with this number."""
    return f"cell-{number:06}"
