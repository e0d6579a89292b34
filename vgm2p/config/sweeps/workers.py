"""The launcher of a sweep. Worker processes of joblib share the CUDA devices, and get no signal while they start."""

from __future__ import annotations

import os
from collections.abc import Sequence

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from vgm2p.errors import ConfigError
from vgm2p.run.sweep import VISIBLE, born_deaf, visible_devices


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

    Args:
        launcher: the launcher.
    """

    def __init__(self, launcher: Launcher) -> None:
        self.launcher = launcher

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Do nothing: the launcher is ready."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the cells, and return their outcomes in this order."""
        with born_deaf():
            return self.launcher.launch(job_overrides, initial_job_idx=initial_job_idx)
