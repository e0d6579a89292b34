"""Cells as tasks of Ray, through its own API: each gets its CPUs, and is started again if its process is ended.

The package hydra-ray-launcher is not used: it asks for the results in order, so that one lost process ends the sweep,
cannot stop a cell so that its state is saved, and needs an older cloudpickle and the client of a cloud.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from vgm2p.config.sweeps.jobs import Remote, lost, returned, stopped
from vgm2p.config.sweeps.planned import Planned
from vgm2p.errors import ConfigError, Interrupted, ServiceError
from vgm2p.io.text import say
from vgm2p.run.sweep import Outcome

SECONDS = 1.0  # between two looks at the flag of signals
PATIENCE = 10.0  # seconds in which a cluster must answer
KEYS = {  # of hydra/launcher=ray
    "address": None,  # of a running cluster, such as auto; None: a cluster of this machine is started for the sweep
    "num_cpus": 1,  # of each cell
    "num_gpus": 0,  # of each cell
    "total_cpus": None,  # of the cluster that is started; None: those of this machine
    "max_retries": 10,  # how often a cell is started again whose process was ended
}


class Ray(Launcher):
    """Starts the cells as tasks, and waits for them. The arguments are the `KEYS`."""

    def __init__(
        self, address: str | None, num_cpus: float, num_gpus: float, total_cpus: int | None, max_retries: int
    ) -> None:
        self.address, self.total_cpus = address, total_cpus
        self.each = {"num_cpus": num_cpus, "num_gpus": num_gpus, "max_retries": max_retries}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Remember what Hydra gives."""
        self.context, self.task, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the cells, and return their outcomes in this order.

        Raises:
            ServiceError: if there is no cluster at the address.
            ConfigError: for a key that is no number, or if a cell asks for more than any machine of the cluster has.
        """
        import ray

        self._check()
        self._connect()
        cells = [list(words) for words in job_overrides]
        task = ray.remote(**self.each)(run_cell)
        remote = ray.put(Remote.of(self.context, self.config, self.task))
        refs = [
            task.remote(remote, words, number, self.each["num_cpus"])
            for number, words in enumerate(cells, initial_job_idx)
        ]
        return self._waited(refs, cells)

    def _check(self) -> None:
        """Raise ConfigError for a key that is no number, and ServiceError if nobody listens at the address.

        Ray itself would ask the address for minutes.
        """
        for key, value in {**self.each, "total_cpus": 1 if self.total_cpus is None else self.total_cpus}.items():
            whole = key in ("total_cpus", "max_retries")
            if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or value < 0:
                raise ConfigError(f"hydra.launcher.{key} must be a {'whole ' * whole}number from 0, got {value!r}")
        host, colon, port = (self.address or "").rpartition(":")
        if not colon or "/" in host:
            return
        try:
            socket.create_connection((host, int(port)), PATIENCE).close()
        except (OSError, ValueError, OverflowError) as error:
            raise ServiceError(f"hydra.launcher.address={self.address}: no cluster answers there ({error})") from error

    def _connect(self) -> None:
        """Start a cluster or connect to one, the first time."""
        import ray

        if ray.is_initialized():
            return
        more: dict[str, Any] = {"num_cpus": self.total_cpus} if self.address is None else {}
        try:
            ray.init(
                address=self.address or "local",
                include_dashboard=False,
                log_to_driver=False,
                logging_level="error",
                **more,
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            line = " ".join(str(error).split())[:90]
            raise ServiceError(f"hydra.launcher.address={self.address}: Ray does not start ({line})") from error
        Planned.hooks.stop.install()  # Ray has just installed its own handlers
        has = ray.cluster_resources()
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        for name, key in (("CPU", "num_cpus"), ("GPU", "num_gpus")):
            most = max((node.get(name, 0) for node in nodes), default=0)
            if self.each[key] > most:
                found = f"the largest machine of the cluster has {most:g}"
                raise ConfigError(f"hydra.launcher.{key}={self.each[key]}: {found}; ask for less, or add a larger one")
        say(f"ray          {has.get('CPU', 0):g} CPUs and {has.get('GPU', 0):g} GPUs in the cluster")

    def _waited(self, refs: list[Any], cells: list[list[str]]) -> list[JobReturn]:
        """Return the outcomes when all tasks have ended; after a signal, end them."""
        import ray

        stop = Planned.hooks.stop
        places = {ref: place for place, ref in enumerate(refs)}
        ended: dict[int, JobReturn] = {}
        pending, told = list(refs), False
        while pending:
            done, pending = ray.wait(pending, num_returns=1, timeout=SECONDS)
            for ref in done:
                place = places[ref]
                try:
                    ended[place] = ray.get(ref)
                except ray.exceptions.TaskCancelledError:
                    signum = stop.signum or signal.SIGTERM
                    ended[place] = returned(Outcome(128 + signum, "stopped", None, cells[place]))
                except ray.exceptions.RayError as error:
                    line = " ".join(str(error).split())
                    ended[place] = lost(
                        cells[place], f"its process was ended too often or could not start ({line[:90]})"
                    )
            if done:
                say(f"ray          {len(ended)} of {len(refs)} cells have ended")
            if stop.requested() and not told:
                told = True
                for ref in pending:
                    ray.cancel(ref)  # as Ctrl-C in its process: the cell saves its state
        return [ended[place] for place in range(len(refs))]


def run_cell(remote: Remote, words: list[str], number: int, cpus: float) -> JobReturn:
    """Run a cell in a process of Ray. If that is ended, the state is saved, and Ray starts the cell again."""
    os.environ["OMP_NUM_THREADS"] = str(max(1, int(cpus)))
    try:
        return remote.run(words, number, f"ray-{number}")
    except Interrupted as error:
        answer = stopped(error, words)
        if error.exit_code != 128 + signal.SIGINT:
            os._exit(error.exit_code)
        return answer
