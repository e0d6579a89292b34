"""The number of CPU threads of a run: as many as this process may use."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from vgm2p.config.settings import FitSettings

OWN_GROUPS = Path("/proc/self/cgroup")  # the control groups of this process
GROUPS = Path("/sys/fs/cgroup")  # where control groups are mounted
SLURM = ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE")  # the first is set only if the job requested it


def set_threads(settings: FitSettings) -> int:
    """Set the CPU threads to `trainer.threads` and return them. `auto`: 1 with comparison runs, else all usable."""
    asked = settings.trainer.threads
    threads = asked if isinstance(asked, int) else 1 if settings.compare else usable_cpus()
    torch.set_num_threads(threads)
    return threads


def usable_cpus(
    environment: Mapping[str, str] = os.environ, own_groups: Path = OWN_GROUPS, groups: Path = GROUPS
) -> int:
    """Return the smallest of the CPU limits of this process, at least 1.

    The limits are: the cores on which it may run, OMP_NUM_THREADS, the CPUs of a Slurm job, and the CPU quotas of its
    control group and the parents of the group.

    Args:
        environment: environment variables of the process.
        own_groups: file that names the control groups of the process.
        groups: folder where control groups are mounted.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    outer, _, _ = environment.get("OMP_NUM_THREADS", "").partition(",")  # "4,2": 4 threads, 2 in each nested region
    asked = [outer.strip(), *(environment.get(name, "") for name in SLURM)]
    limits = [cores, *(int(number) for number in asked if number.isdecimal()), *group_limits(own_groups, groups)]
    return max(1, min(limits))


def group_limits(own_groups: Path = OWN_GROUPS, groups: Path = GROUPS) -> list[int]:
    """Return the CPU quotas, rounded down, of the process's control groups and their parents (cgroup v1 and v2)."""
    quotas = (_quota(folder) for folder in _folders(own_groups, groups))
    return [int(quota) for quota in quotas if quota is not None]


def _folders(own_groups: Path, groups: Path) -> Iterator[Path]:
    """Yield the folders of the process's groups and of their parents, up to the root of each tree."""
    for line in _lines(own_groups):
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        for root in (groups / controllers, groups / "cpu") if controllers else (groups, groups / "unified"):
            # in a container, the path may be that of the host: folders that do not exist give no limit
            own = root / path.lstrip("/")
            yield from (folder for folder in (own, *own.parents) if folder == root or root in folder.parents)


def _quota(folder: Path) -> float | None:
    """Return the number of CPUs that a control group may use; None without a limit."""
    version2 = "".join(_lines(folder / "cpu.max")[:1]).split()
    version1 = [*_lines(folder / "cpu.cfs_quota_us")[:1], *_lines(folder / "cpu.cfs_period_us")[:1]]
    for words in (version2, version1):
        numbers = [int(word) for word in words if word.isdecimal()]  # "max" and -1 mean "no limit"
        if len(numbers) == 2 and numbers[1] > 0:
            return numbers[0] / numbers[1]
    return None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
