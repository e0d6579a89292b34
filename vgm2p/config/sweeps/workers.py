"""The launcher of a sweep. Worker processes of joblib share the CUDA devices, and get no signal while they start."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import BrokenExecutor

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from vgm2p.config.job import cell_name
from vgm2p.config.sweeps.jobs import lost, returned
from vgm2p.errors import ConfigError
from vgm2p.io.text import say
from vgm2p.run.sweep import VISIBLE, Sweep, born_deaf, visible_devices

TRIES = 3  # starts of a cell whose process, or that of a cell beside it, was killed
LOST = (
    "its process or one beside it was killed, often because the memory was full; the same command continues it, and "
    "hydra.launcher.n_jobs=1 needs less"
)


def make_launcher(context: HydraContext, task: TaskFunction, config: DictConfig) -> Launcher:
    """Return the launcher that a sweep names. On a machine with CUDA devices, joblib gets one worker per device.

    Raises ConfigError for no worker.
    """
    joblib = "joblib" in str(config.hydra.launcher._target_)
    if joblib and config.hydra.launcher.get("n_jobs") == 0:
        raise ConfigError("hydra.launcher.n_jobs must be a number of workers from 1, or -1 for as many as fit, got 0")
    if joblib and (devices := visible_devices()):
        os.environ[VISIBLE] = ",".join(devices)  # workers do not ask CUDA, which would fix the device of their process
        if config.hydra.launcher.get("n_jobs", 0) == -1:
            with open_dict(config):
                config.hydra.launcher.n_jobs = len(devices)
    launcher = Plugins.instance().instantiate_launcher(hydra_context=context, task_function=task, config=config)
    return BornDeaf(launcher) if joblib else launcher


class BornDeaf(Launcher):
    """A launcher of worker processes that get no signal while they start.

    If a worker is killed, joblib kills the others. The cells that have not ended are then started again.

    Args:
        launcher: the launcher.
    """

    def __init__(self, launcher: Launcher) -> None:
        self.launcher = launcher

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Do nothing: the launcher is ready."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the cells, and return their outcomes in this order. A cell is lost if a worker dies in TRIES starts."""
        sweep = Sweep.joined()
        cells = {cell_name(number): list(words) for number, words in enumerate(job_overrides, initial_job_idx)}
        tries = dict.fromkeys(cells, 0)
        with born_deaf():
            while True:
                try:
                    return self.launcher.launch(job_overrides, initial_job_idx=initial_job_idx)
                except BrokenExecutor:
                    if sweep.stopped():
                        raise
                left = [cell for cell in cells if sweep.outcome(cell) is None]
                begun = [cell for cell in left if sweep.take_begun(cell)]
                for cell in begun or left:  # none has begun: workers cannot even start
                    tries[cell] += 1
                    if tries[cell] == TRIES or not begun:
                        sweep.note(cell, lost(cells[cell], LOST).return_value)
                outcomes = [outcome for outcome in map(sweep.outcome, cells) if outcome is not None]
                if len(outcomes) == len(cells):
                    return [returned(outcome) for outcome in outcomes]
                say(f"sweep        a worker process was killed: {len(cells) - len(outcomes)} cells start again")
