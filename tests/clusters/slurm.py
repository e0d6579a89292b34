"""A Slurm cluster of one node on 127.0.0.1, with ports, keys and state of its own in a temporary folder."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

SBIN = ("/usr/sbin", "/sbin", "/usr/local/sbin")  # not on everybody's $PATH
NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue")
CPUS = 4  # of the node, whatever the machine has
CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmctldPort={ctld}
SlurmdPort={slurmd}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={place}/munge.socket,cred_expire=5
StateSaveLocation={place}/state
SlurmdSpoolDir={place}/spool
SlurmctldPidFile={place}/slurmctld.pid
SlurmdPidFile={place}/slurmd.pid
SlurmctldLogFile={place}/slurmctld.log
SlurmdLogFile={place}/slurmd.log
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerParameters=bf_interval=2,sched_interval=5
ReturnToService=2
EnforcePartLimits=ALL
KillWait=30
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=low Nodes={host} Default=YES PriorityTier=1 GraceTime=60 MaxTime=INFINITE State=UP
PartitionName=high Nodes={host} PriorityTier=2 GraceTime=0 MaxTime=INFINITE State=UP
"""


def found(program: str) -> str | None:
    return shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", ""), *SBIN]))


def missing() -> str | None:
    """Return why no cluster can be started here; None if it can."""
    absent = [program for program in NEEDED if found(program) is None]
    if absent:
        return f"needs {', '.join(absent)} (Debian: slurm-wlm, munge)"
    return None if os.geteuid() == 0 else "slurmd and munged are started as root"


class Cluster:
    """A running cluster. `variables` are the environment variables with which commands use it."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.variables = {"SLURM_CONF": str(place / "slurm.conf")}

    def tell(self, *words: str) -> str:
        """Run a command of Slurm, such as `squeue`, and return what it prints."""
        done = subprocess.run(
            words, env={**os.environ, **self.variables}, capture_output=True, text=True, check=True, timeout=60
        )
        return done.stdout

    def jobs(self) -> dict[str, str]:
        """Return job -> state of all jobs that are not over."""
        lines = self.tell("squeue", "--noheader", "--array", "--format=%i %T").splitlines()
        return dict(line.split() for line in lines)


@contextlib.contextmanager
def cluster(place: Path) -> Iterator[Cluster]:
    """Start a cluster in a folder, and stop it after the block."""
    place.chmod(0o755)
    for name in ("state", "spool"):
        (place / name).mkdir()
    key = place / "munge.key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o400)
    ports = free_ports(2)
    host = socket.gethostname().partition(".")[0]
    conf = CONF.format(place=place, host=host, ctld=ports[0], slurmd=ports[1], cpus=CPUS)
    (place / "slurm.conf").write_text(conf)
    running = Cluster(place)
    files = [f"--{name}={place}/munge.{end}" for name, end in MUNGE.items()]
    commands = [
        [found("munged"), "--foreground", "--force", *files],
        [found("slurmctld"), "-D", "-i"],
        [found("slurmd"), "-D"],
    ]
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for words in commands:
            log = open(place / f"{Path(str(words[0])).name}.out", "wb")  # noqa: SIM115
            processes.append(
                subprocess.Popen(words, env={**os.environ, **running.variables}, stdout=log, stderr=log)  # type: ignore[arg-type]
            )
            time.sleep(1)
        wait_until_idle(running, processes)
        yield running
    finally:
        with contextlib.suppress(subprocess.SubprocessError):
            running.tell("scancel", "--user=root", "--full")
            running.tell("scancel", "--user=root", "--signal=KILL")
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()
            process.wait()


MUNGE = {"socket": "socket", "key-file": "key", "pid-file": "pid", "seed-file": "seed", "log-file": "log"}


def wait_until_idle(running: Cluster, processes: list[subprocess.Popen[bytes]]) -> None:
    """Wait until the node takes jobs. The limit is that of every test."""
    while True:
        with contextlib.suppress(subprocess.SubprocessError):
            if "idle" in running.tell("sinfo", "--noheader", "--format=%T"):
                return
        assert all(process.poll() is None for process in processes), (running.place / "slurmctld.log").read_text()[
            -2000:
        ]
        time.sleep(0.5)


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
