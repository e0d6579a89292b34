"""A cell that runs in a process which another program has started: a job of a cluster."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from vgm2p.config.compose import register_resolvers
from vgm2p.errors import Interrupted
from vgm2p.run.sweep import Outcome, Sweep


@dataclass
class Remote:
    """What a process elsewhere needs to run a cell of this sweep. It is pickled by the launcher.

    The process works in the folder of the command, with its environment variables of this program and its modules. A
    shared file system is taken for granted.

    Attributes:
        context: Hydra's own.
        config: configuration of the sweep.
        task: the function that runs a composed configuration.
        state: Hydra's singletons.
        folder: working folder of the command.
        sweep: the sweep.
        path: where the command looks for modules.
    """

    context: HydraContext
    config: DictConfig
    task: TaskFunction
    state: Any
    folder: str
    sweep: Sweep
    path: list[str]

    @classmethod
    def of(cls, context: HydraContext, config: DictConfig, task: TaskFunction) -> Remote:
        """Return what a process elsewhere needs."""
        return cls(context, config, task, Singleton.get_state(), os.getcwd(), Sweep.joined(), list(sys.path))

    def run(self, words: Sequence[str], number: int, job: str) -> JobReturn:
        """Run a cell. Raises Interrupted if a signal has stopped it, after its state was saved."""
        os.chdir(self.folder)
        self.sweep.join_elsewhere()
        sys.path.extend(each for each in self.path if each not in sys.path)
        Singleton.set_state(self.state)
        setup_globals()
        register_resolvers()
        config = self.context.config_loader.load_sweep_config(self.config, list(words))
        with open_dict(config):
            config.hydra.job.id, config.hydra.job.num = job, number
        return run_job(
            hydra_context=self.context,
            task_function=self.task,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )


def stopped(error: Interrupted, words: Sequence[str]) -> JobReturn:
    """Print that a signal has stopped a cell, and return what a launcher returns for it."""
    print(f"vgm2p: {error.line}", file=sys.stderr, flush=True)
    return returned(Outcome(error.exit_code, error.line, None, list(words)))


def returned(outcome: Outcome) -> JobReturn:
    """Return what a launcher returns for a cell with this outcome."""
    answer = JobReturn(overrides=outcome.overrides, status=JobStatus.COMPLETED)
    answer.return_value = outcome
    return answer


def lost(words: Sequence[str], line: str) -> JobReturn:
    """Return what a launcher returns for a cell whose process has ended without an answer."""
    return returned(Outcome(69, line, None, list(words)))
