"""Cells as jobs of Slurm, through submitit: each saves its state and is queued again when its job is to end."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from vgm2p.config.sweeps.jobs import Remote, lost, returned, stopped
from vgm2p.config.sweeps.planned import Planned
from vgm2p.errors import ConfigError, Interrupted, MissingInput
from vgm2p.io.text import say
from vgm2p.run.sweep import Outcome

SECONDS = 2.0  # between two looks at the jobs
GONE = 10.0  # a job that is not in the queue for so many seconds, and has no result, has been killed
REQUEUES = 100  # how often a job that reaches its time limit is queued again
ENDS = (signal.SIGINT, signal.SIGTERM)  # signals to the command that end its jobs, too


class Slurm(Launcher):
    """Starts the cells as one array of jobs, and waits for them.

    Args:
        keys: those of `hydra/launcher=submitit_slurm`.
    """

    def __init__(self, **keys: Any) -> None:
        self.keys: dict[str, Any] = {
            name: OmegaConf.to_container(v) if OmegaConf.is_config(v) else v for name, v in keys.items()
        }

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Remember what Hydra gives."""
        self.context, self.task, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the cells, and return their outcomes in this order.

        Raises:
            MissingInput: if this is no machine of a Slurm cluster.
            ConfigError: if submitit or Slurm refuses a key.
            Interrupted: if a signal stopped the command; SIGINT and SIGTERM end the jobs, too.
        """
        cells = [list(words) for words in job_overrides]
        job = SlurmCell(Remote.of(self.context, self.config, self.task))
        numbers = range(initial_job_idx, initial_job_idx + len(cells))
        jobs = self._submitted(job, cells, list(numbers))
        name = jobs[0].job_id.partition("_")[0]
        say(f"slurm        {len(jobs)} jobs {name}; `scancel {name}` ends them; logs in {jobs[0].paths.folder.parent}")
        return self._waited(jobs, cells)

    def _submitted(self, job: SlurmCell, cells: list[list[str]], numbers: list[int]) -> list[Any]:
        import submitit

        keys = dict(self.keys)
        folder, requeues = keys.pop("submitit_folder"), keys.pop("max_num_timeout")
        try:
            executor = submitit.SlurmExecutor(folder, max_num_timeout=requeues)
        except RuntimeError as error:
            raise MissingInput("hydra/launcher=submitit_slurm needs the commands of Slurm (sbatch, srun)") from error
        rename = submitit.SlurmExecutor._equivalence_dict() or {}
        given = {rename.get(name, name): value for name, value in keys.items() if value is not None}
        if "mem" in given:
            given["mem"] = f"{given['mem']}GB"
        try:
            executor._internal_update_parameters(**given)
            jobs: list[Any] = executor.map_array(job, cells, numbers)
        except (ValueError, submitit.core.utils.FailedJobError) as error:
            lines = [line for line in str(error).splitlines() if "sbatch: error" in line] or str(error).splitlines()
            raise ConfigError(f"hydra.launcher: {lines[0].strip()}; see docs/clusters.md") from error
        return jobs

    def _waited(self, jobs: list[Any], cells: list[list[str]]) -> list[JobReturn]:
        """Return the outcomes when all jobs have ended."""
        stop = Planned.hooks.stop
        seen = dict.fromkeys(range(len(jobs)), time.monotonic())  # jobs that run -> when they were last in the queue
        ended: dict[int, JobReturn] = {}
        told, said = False, {"None"}
        while len(ended) < len(jobs):
            waiting = queued(jobs[0].job_id.partition("_")[0])
            for reason in sorted({*(waiting or {}).values()} - said):
                said.add(reason)
                say(f"slurm        jobs wait: {reason.strip()}")
            for place in [place for place in seen if place not in ended]:
                job = jobs[place]
                if has_result(job):
                    ended[place] = self._result(job, cells[place])
                    say(f"slurm        {len(ended)} of {len(jobs)} jobs have ended")
                elif job.job_id in waiting if waiting is not None else not told:  # a signal ends it without Slurm
                    seen[place] = time.monotonic()
                elif time.monotonic() - seen[place] > GONE:
                    ended[place] = self._gone(job, cells[place])
            if stop.requested() and not told:
                told = True
                self._end(jobs[0].job_id.partition("_")[0])
            time.sleep(SECONDS if len(ended) < len(jobs) else 0.0)
        return [ended[place] for place in range(len(jobs))]

    def _end(self, name: str) -> None:
        """End the jobs after a signal to the command. Raises Interrupted if they are to go on."""
        stop = Planned.hooks.stop
        if stop.signum not in ENDS:
            raise stop.interruption(f"the command has ended, and its jobs go on; `scancel {name}` ends them")
        say("slurm        the jobs are told to save their state and to end")
        with contextlib.suppress(OSError, subprocess.SubprocessError):  # they go on, and are waited for
            subprocess.run(["scancel", name], check=False, timeout=60)

    def _gone(self, job: Any, words: list[str]) -> JobReturn:
        """Return the outcome of a job that has left the queue without a result."""
        stop = Planned.hooks.stop
        if stop.signum is not None:
            return returned(Outcome(128 + stop.signum, f"job {job.job_id} was ended", None, words))
        why = "was ended without an answer (memory, scancel?)"
        return lost(words, f"job {job.job_id} {why}; its log: {job.paths.stderr}")

    def _result(self, job: Any, words: list[str]) -> JobReturn:
        kind, result = job._get_outcome_and_result()
        if kind == "success" and isinstance(result, JobReturn):
            return result
        line = str(result).strip().splitlines()[-1]
        return lost(words, f"job {job.job_id}: {line}; its log: {job.paths.stderr}")


class SlurmCell:
    """The function that a job calls. Slurm's signals stop the cell; then it is queued again, if it has not ended.

    Args:
        remote: what a process elsewhere needs.
    """

    def __init__(self, remote: Remote) -> None:
        self.remote = remote

    def __call__(self, words: list[str], number: int) -> JobReturn:
        """Run a cell. Ends the process if the job is queued again."""
        import submitit

        environment = submitit.JobEnvironment()
        again = environment._usr_sig()
        requeue = signal.getsignal(again)
        try:
            return self.remote.run(words, number, str(environment.job_id))
        except Interrupted as error:
            answer = stopped(error, words)
            if (error.exit_code == 128 + again or preempted()) and callable(requeue):
                requeue(again, None)
            return answer

    def checkpoint(self, *arguments: Any) -> Any:
        """Return what a job does that is queued again: the same, because a cell goes on from its checkpoint."""
        import submitit

        return submitit.helpers.DelayedSubmission(self, *arguments)


def preempted() -> bool:
    """Return whether Slurm ends this job in favour of another one."""
    try:
        shown = subprocess.run(
            ["scontrol", "--oneliner", "show", "job", os.environ["SLURM_JOB_ID"]],
            capture_output=True,
            text=True,
            timeout=30,
        ).stdout
    except (OSError, KeyError, subprocess.SubprocessError):
        return False
    when = re.search(r"\bPreemptTime=(\S+)", shown)
    return when is not None and when[1] not in ("None", "(null)", "N/A")


def has_result(job: Any) -> bool:
    """Return whether a job has written its result. The folder is listed, because a network file system then asks."""
    try:
        return job.paths.result_pickle.name in os.listdir(job.paths.folder)
    except OSError:
        return False


def queued(name: str) -> dict[str, str] | None:
    """Return the jobs of an array that are not over, with the reason why they wait (None: they run).

    None if Slurm does not answer.
    """
    words = ["squeue", "--noheader", "--array", "--format=%i %r", f"--jobs={name}"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    if done.returncode and "Invalid job id" not in done.stderr:
        return None
    return dict(line.split(maxsplit=1) for line in done.stdout.splitlines())


def keys() -> Mapping[str, Any]:
    """Return the keys of the launcher with their defaults. Raises ImportError if its plugin is not installed."""
    from hydra_plugins.hydra_submitit_launcher.config import SlurmQueueConf

    found: Any = OmegaConf.to_container(OmegaConf.structured(SlurmQueueConf))
    return {name: value for name, value in found.items() if name != "_target_"} | {"max_num_timeout": REQUEUES}
