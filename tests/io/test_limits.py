"""CPUs and memory: the smallest limit of machine, control groups and job. The files are below a folder of the test."""

import os
import subprocess
import sys

import pytest

from tests.run.runs import environment
from vgm2p.io.limits import free_memory, usable_cpus

GIGA = 10**9
HUGE = 9223372036854771712  # what version 1 writes if there is no limit


@pytest.fixture
def machine(tmp_path):
    """Return what writes the control groups of a process, and gives the root folder to read."""

    def made(own, files, mounts=""):
        every = {f"sys/fs/cgroup/{name}": content for name, content in files.items()}
        for name, content in {**every, "proc/self/cgroup": own, "proc/self/mountinfo": mounts}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(str(content))
        return tmp_path

    return made


def cpus(root, variables=(), cores=64):
    return usable_cpus(dict(variables), root, lambda: cores)


def memory(root, variables=(), free=64 * GIGA):
    return free_memory(dict(variables), root, lambda: free)


# --- CPUs


def test_version_2_reads_the_own_group_and_its_parents(machine):
    files = {
        "slice/cpu.max": "800000 100000\n",
        "slice/job/cpu.max": "300000 100000\n",
        "slice/job/step/cpu.max": "max 100000\n",
        "slice/other/cpu.max": "100000 100000\n",
        "cpu.max": "max 100000\n",
    }
    assert cpus(machine("0::/slice/job/step\n", files)) == 3
    assert cpus(machine("0::/slice\n", files)) == 8


def test_version_1_reads_quota_and_period(machine):
    files = {
        "cpu,cpuacct/a/b/cpu.cfs_quota_us": "250000\n",
        "cpu,cpuacct/a/b/cpu.cfs_period_us": "100000\n",
        "cpu,cpuacct/a/cpu.cfs_quota_us": "-1\n",
        "cpu,cpuacct/a/cpu.cfs_period_us": "100000\n",
        "cpu/cpu.cfs_quota_us": "400000\n",
        "cpu/cpu.cfs_period_us": "100000\n",
        "cpuset/a/cpu.cfs_quota_us": "100000\n",
        "cpuset/a/cpu.cfs_period_us": "100000\n",
    }
    assert cpus(machine("5:cpuset:/a\n4:cpu,cpuacct:/a/b\n0::/\n", files)) == 2
    assert cpus(machine("5:cpuset:/a\n4:cpu,cpuacct:/a\n0::/\n", files)) == 4


@pytest.mark.parametrize("name", ["cpuset.cpus.effective", "cpuset.effective_cpus", "cpuset.cpus"])
def test_a_set_of_cpus_is_counted(machine, name):
    own, place = ("0::/job\n", "job") if name == "cpuset.cpus.effective" else ("3:cpuset:/job\n", "cpuset/job")
    assert cpus(machine(own, {f"{place}/{name}": "0-3,8,10-11\n"})) == 7


def test_in_a_container_the_path_of_the_host_may_be_missing(machine):
    assert cpus(machine("0::/docker/1234\n", {"cpu.max": "150000 100000\n"})) == 1


def test_the_mounts_say_where_the_groups_are(machine):
    """A group of the host is the root of what a container sees; the tree has a place of its own."""
    mounts = (
        "31 23 0:28 /docker/12 /sys/fs/cgroup/my\\040cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
        "32 23 0:29 / /proc rw - proc proc rw\n"
    )
    files = {
        "my cpu/job/cpu.cfs_quota_us": "300000",
        "my cpu/job/cpu.cfs_period_us": "100000",
        "cpu/job/cpu.cfs_quota_us": "100000",
        "cpu/job/cpu.cfs_period_us": "100000",
    }
    assert cpus(machine("4:cpu,cpuacct:/docker/12/job\n", files, mounts)) == 3


@pytest.mark.parametrize("content", ["", "max\n", "nonsense here\n", "100000 0\n"])
def test_files_without_a_limit_give_none(machine, content):
    assert cpus(machine("0::/\n", {"cpu.max": content})) == 64


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, 64),
        ({"OMP_NUM_THREADS": "1"}, 1),
        ({"OMP_NUM_THREADS": "1,4"}, 1),
        ({"OMP_NUM_THREADS": "many"}, 64),
        ({"OMP_NUM_THREADS": "1000"}, 64),
        ({"SLURM_CPUS_PER_TASK": "3"}, 3),
        ({"SLURM_CPUS_ON_NODE": "5"}, 5),
        ({"SLURM_CPUS_PER_TASK": "3", "OMP_NUM_THREADS": "8"}, 3),
        ({"NCPUS": "6"}, 6),
        ({"PBS_NUM_PPN": "7"}, 7),
        ({"LSB_DJOB_NUMPROC": "4"}, 4),
        ({"NSLOTS": "2"}, 2),
        ({"NSLOTS": "0"}, 64),
    ],
)
def test_the_smallest_limit_of_the_environment_wins(machine, variables, expected):
    assert cpus(machine("0::/\n", {"cpu.max": "max 100000\n"}), variables) == expected


def test_less_than_a_cpu_is_one_thread(machine):
    assert cpus(machine("0::/\n", {"cpu.max": "50000 100000\n"})) == 1


def test_where_there_are_no_control_groups_the_cores_count(tmp_path):
    assert usable_cpus({}, tmp_path) == len(os.sched_getaffinity(0))
    assert memory(tmp_path) == 64 * GIGA


# --- memory


def test_version_2_counts_the_nearest_limit_and_cached_files_as_free(machine):
    files = {
        "slice/memory.max": 3 * GIGA,
        "slice/memory.current": 2 * GIGA,
        "slice/memory.stat": "anon 1\ninactive_file 300\nactive_file 700\n",
        "slice/job/memory.max": "max\n",
        "slice/job/memory.current": 5,
        "slice/job/memory.stat": "",
    }
    assert memory(machine("0::/slice/job\n", files)) == GIGA + 1000
    assert memory(machine("0::/slice/job\n", files), free=7) == 7
    files |= {"slice/job/memory.high": 100_005}
    assert memory(machine("0::/slice/job\n", files)) == 100_000


def test_version_1_reads_its_limit_and_that_of_parents_which_are_not_visible(machine):
    place = "memory/slurm/job/step"
    files = {
        f"{place}/memory.limit_in_bytes": HUGE,
        f"{place}/memory.usage_in_bytes": GIGA,
        f"{place}/memory.stat": "total_inactive_file 100\ntotal_active_file 0\ninactive_file 99\n",
    }
    own = "9:cpuset:/x\n8:memory:/slurm/job/step\n0::/\n"
    assert memory(machine(own, files)) == 64 * GIGA
    files[f"{place}/memory.stat"] += f"hierarchical_memory_limit {4 * GIGA}\n"
    assert memory(machine(own, files)) == 3 * GIGA + 100
    files |= {"memory/slurm/memory.limit_in_bytes": 2 * GIGA, "memory/slurm/memory.usage_in_bytes": GIGA + 5}
    assert memory(machine(own, files)) == GIGA - 5
    files |= {"memory/slurm/memory.usage_in_bytes": 3 * GIGA}
    assert memory(machine(own, files)) == 0


@pytest.mark.parametrize(
    ("variables", "limit"),
    [
        ({"SLURM_MEM_PER_NODE": "8000"}, 8000),
        ({"SLURM_MEM_PER_NODE": "0"}, None),
        ({"SLURM_MEM_PER_CPU": "2000", "SLURM_CPUS_ON_NODE": "4"}, 8000),
        ({"SLURM_MEM_PER_CPU": "2000", "SLURM_CPUS_PER_TASK": "4"}, 8000),
        ({"SLURM_MEM_PER_CPU": "2000"}, None),
        ({"SLURM_MEM_PER_NODE": "all"}, None),
    ],
)
def test_a_slurm_job_limits_memory(tmp_path, variables, limit):
    found = memory(tmp_path, variables)
    if limit is None:
        assert found == 64 * GIGA
    else:
        assert limit * 2**20 - 4 * GIGA < found < limit * 2**20  # less than the limit by what this process holds


@pytest.mark.parametrize("kind", ["AS", "DATA"])
def test_ulimit_counts(kind):
    code = (
        "import resource; from vgm2p.io.limits import free_memory\n"
        f"resource.setrlimit(resource.RLIMIT_{kind}, (2 * 10**9, -1)); print(free_memory({{}}, machine=lambda: 10**12))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True)
    assert 0 < int(done.stdout) < 2 * 10**9, done.stderr
