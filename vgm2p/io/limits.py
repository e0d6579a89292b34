"""How many CPUs and how much memory this process may use: the smallest limit of machine, control groups and job."""

from __future__ import annotations

import os
import re
import resource
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path("/")
MEGA = 2**20  # the unit of Slurm's variables
# Number of CPUs of a job on this machine: Slurm, PBS Pro, Torque, LSF, Grid Engine.
CPUS = ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE", "NCPUS", "PBS_NUM_PPN", "LSB_DJOB_NUMPROC", "NSLOTS")


@dataclass(frozen=True)
class Group:
    """A control group of this process, or a parent of one: its folder, and the folder of its whole tree."""

    folder: Path
    top: Path

    def lines(self, name: str) -> list[str]:
        """Return the lines of a file of the group; none if there is no such file."""
        return _lines(self.folder / name)

    def number(self, name: str) -> int | None:
        """Return the number in a file of the group; None for `max`, -1, and if there is none."""
        words = " ".join(self.lines(name)).split()
        return int(words[0]) if words and words[0].isdecimal() else None


def own_cores() -> int:
    """Return the number of cores on which this process may run."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine_memory() -> int:
    """Return the free memory of this machine in bytes."""
    return int(psutil.virtual_memory().available)


def usable_cpus(
    environment: Mapping[str, str] = os.environ, root: Path = ROOT, cores: Callable[[], int] = own_cores
) -> int:
    """Return the smallest of the CPU limits of this process, at least 1.

    The limits are: the cores on which it may run, OMP_NUM_THREADS, the CPUs of a job (`CPUS`), and the quotas and CPU
    sets of its control groups and their parents, rounded down.

    Args:
        environment: environment variables of the process.
        root: folder that holds `proc/self/cgroup`, `proc/self/mountinfo` and the mounted control groups.
        cores: returns the number of cores on which the process may run.
    """
    outer, _, _ = environment.get("OMP_NUM_THREADS", "").partition(",")  # "4,2": 4 threads, 2 in each nested region
    asked = [outer.strip(), *(environment.get(name, "") for name in CPUS)]
    given = [int(number) for number in asked if number.isdecimal() and int(number) > 0]
    quotas = [int(quota) for group in groups("cpu", root) if (quota := _quota(group)) is not None]
    sets = [count for group in groups("cpuset", root) if (count := _cpu_set(group))]
    return max(1, min([cores(), *given, *quotas, *sets]))


def free_memory(
    environment: Mapping[str, str] = os.environ, root: Path = ROOT, machine: Callable[[], int] = machine_memory
) -> int:
    """Return how many bytes this process may still take.

    The limits are: the free memory of the machine, the memory of its control groups and their parents (cached files
    count as free), of a Slurm job, and `ulimit -v` and `-d`. The last three count what this process has taken.

    Args:
        environment: environment variables of the process.
        root: as in `usable_cpus`.
        machine: returns the free memory of the machine in bytes.
    """
    held = psutil.Process().memory_info()
    limits = [machine(), *_left_in_groups(root), *(limit - held.rss for limit in _of_job(environment))]
    for kind, taken in ((resource.RLIMIT_AS, held.vms), (resource.RLIMIT_DATA, held.data)):
        soft, _ = resource.getrlimit(kind)
        limits += [] if soft == resource.RLIM_INFINITY else [soft - taken]
    return max(0, int(min(limits)))


def groups(controller: str, root: Path = ROOT) -> Iterator[Group]:
    """Yield the control groups of this process that may have a controller, and their parents (versions 1 and 2)."""
    for line in _lines(root / "proc/self/cgroup"):
        _, names, path = line.split(":", 2)
        if names and controller not in names.split(","):
            continue
        for top, inner in _mounts(controller if names else "", names, root):
            # in a container, the path may be that of the host: folders that do not exist give no limit
            own = top / path.removeprefix(inner).lstrip("/")
            yield from (Group(at, top) for at in (own, *own.parents) if at == top or top in at.parents)


def _mounts(controller: str, names: str, root: Path) -> list[tuple[Path, str]]:
    """Return where the tree of a controller (empty: version 2) is mounted, and which of its groups is at the top."""
    found = []
    for line in _lines(root / "proc/self/mountinfo"):
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 5 or len(kind) < 3:
            continue
        options = kind[2].split(",")
        if (kind[0] == "cgroup2" and not controller) or (kind[0] == "cgroup" and controller in options):
            place = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4])
            found.append((root / place.lstrip("/"), fields[3].rstrip("/")))
    usual = root / "sys/fs/cgroup"
    return found or [(usual / name, "") for name in ((names, controller) if controller else ("", "unified"))]


def _quota(group: Group) -> float | None:
    """Return the number of CPUs that a control group may use; None without a limit."""
    version2 = "".join(group.lines("cpu.max")[:1]).split()
    version1 = [*group.lines("cpu.cfs_quota_us")[:1], *group.lines("cpu.cfs_period_us")[:1]]
    for words in (version2, version1):
        numbers = [int(word) for word in words if word.isdecimal()]  # "max" and -1 mean "no limit"
        if len(numbers) == 2 and numbers[1] > 0:
            return numbers[0] / numbers[1]
    return None


def _cpu_set(group: Group) -> int:
    """Return the number of CPUs in the set of a control group, such as `0-3,8`; 0 if it has none."""
    for name in ("cpuset.cpus.effective", "cpuset.effective_cpus", "cpuset.cpus"):
        text = "".join(group.lines(name)[:1])
        if re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", text):
            ends = [part.split("-") for part in text.split(",")]
            return sum(int(pair[-1]) - int(pair[0]) + 1 for pair in ends)
    return 0


def _left_in_groups(root: Path) -> Iterator[int]:
    """Yield the free bytes of each control group with a limit."""
    for group in groups("memory", root):
        version2, version1 = group.number("memory.current"), group.number("memory.usage_in_bytes")
        used = version1 if version2 is None else version2
        if used is None:
            continue
        held = dict(line.split() for line in group.lines("memory.stat") if len(line.split()) == 2)
        begin = "" if version1 is None else "total_"  # version 1 counts the groups below only in these
        cached = sum(int(held.get(f"{begin}{kind}_file", 0)) for kind in ("active", "inactive"))
        names = ("memory.max", "memory.high", "memory.limit_in_bytes")
        limits = [*(group.number(name) for name in names), int(held.get("hierarchical_memory_limit", 0)) or None]
        yield from (limit - used + cached for limit in limits if limit is not None)


def _of_job(environment: Mapping[str, str]) -> Iterator[int]:
    """Yield the bytes of a Slurm job on this machine. 0 in its variables means the whole machine."""

    def number(name: str) -> int:
        text = environment.get(name, "")
        return int(text) if text.isdecimal() else 0

    if whole := number("SLURM_MEM_PER_NODE"):
        yield whole * MEGA
    cpus = number("SLURM_CPUS_ON_NODE") or number("SLURM_CPUS_PER_TASK")
    if each := number("SLURM_MEM_PER_CPU") * cpus:
        yield each * MEGA


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return []
