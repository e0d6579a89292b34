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
        objective: the return by which a search compares cells, `estimate` or `evaluation`; None: this is no search.
        estimate: words for `vgm2p estimate`, with which the search estimates.
    """

    command: str
    name: str | None
    words: list[str]
    out: str | None
    objective: str | None = None
    estimate: tuple[str, ...] = ()


def this_job(cfg: Any) -> Job:
    """Return the job of this process, whose configuration is `cfg`."""
    config = HydraConfig.get()
    several = config.mode == RunMode.MULTIRUN
    out: str | None = None
    with contextlib.suppress(OmegaConfBaseException):  # `out` itself may be what is wrong
        out = OmegaConf.select(cfg, "out")
    command, words = str(config.job.config_name), typed_words(config)
    if not several:
        return Job(command, None, words, out)
    sweeper: Any = config.sweeper
    estimate = tuple(f"{key}={value}" for key, value in (sweeper.get("estimate") or {}).items())
    return Job(command, cell_name(config.job.num), words, out, sweeper.get("objective"), estimate)


def cell_name(number: int) -> str:
    """Return the name of a cell that a launcher has started with this number."""
    return f"cell-{number:06}"
