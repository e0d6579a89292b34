"""CPU threads of a run: as many as this process may really use."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from vgm2p.config.settings import FitSettings

OWN_GROUPS = Path("/proc/self/cgroup")  # the control groups of this process
GROUPS = Path("/sys/fs/cgroup")  # where control groups are mounted
SLURM = ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE")  # the first is set only where the job asked for it


def set_threads(settings: FitSettings) -> int:
    """Set and return the CPU threads of `trainer.threads`; `auto`: one beside comparison runs, else all usable."""
    asked = settings.trainer.threads
    threads = asked if isinstance(asked, int) else 1 if settings.compare else usable_cpus()
    torch.set_num_threads(threads)
    return threads


def usable_cpus(
    environment: Mapping[str, str] = os.environ, own_groups: Path = OWN_GROUPS, groups: Path = GROUPS
) -> int:
    """Return the smallest of the limits that hold for this process, at least 1.

    Limits are: the cores that it may run on, OMP_NUM_THREADS, the CPUs of a Slurm job, and the CPU time that its
    control group or a parent of that may use.

    Args:
        environment: variables of the process.
        own_groups: file that names the control groups of the process.
        groups: folder where control groups are mounted.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    outer, _, _ = environment.get("OMP_NUM_THREADS", "").partition(",")  # "4,2": 4 threads, 2 in each nested region
    asked = [outer.strip(), *(environment.get(name, "") for name in SLURM)]
    limits = [cores, *(int(number) for number in asked if number.isdecimal()), *group_limits(own_groups, groups)]
    return max(1, min(limits))


def group_limits(own_groups: Path = OWN_GROUPS, groups: Path = GROUPS) -> list[int]:
    """Return the whole CPUs that each control group of the process allows (own group and parents, versions 1 and 2)."""
    quotas = (_quota(folder) for folder in _folders(own_groups, groups))
    return [int(quota) for quota in quotas if quota is not None]


def _folders(own_groups: Path, groups: Path) -> Iterator[Path]:
    """Yield the folders of the process's groups and of their parents, up to the root of each tree."""
    for line in _lines(own_groups):
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        for root in (groups / controllers, groups / "cpu") if controllers else (groups, groups / "unified"):
            # in a container the path may be that of the host: only what exists of it has a limit to read
            own = root / path.lstrip("/")
            yield from (folder for folder in (own, *own.parents) if folder == root or root in folder.parents)


def _quota(folder: Path) -> float | None:
    """Return the CPUs that a group may use, or None where it has no limit."""
    version2 = "".join(_lines(folder / "cpu.max")[:1]).split()
    version1 = [*_lines(folder / "cpu.cfs_quota_us")[:1], *_lines(folder / "cpu.cfs_period_us")[:1]]
    for words in (version2, version1):
        numbers = [int(word) for word in words if word.isdecimal()]  # "max" and -1 are no limit
        if len(numbers) == 2 and numbers[1] > 0:
            return numbers[0] / numbers[1]
    return None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
