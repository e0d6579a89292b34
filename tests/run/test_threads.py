"""`trainer.threads: auto`: the smallest of the CPU limits of a process, read from files that the test writes."""

import os

import pytest

from vgm2p.training.threads import group_limits, usable_cpus

CORES = len(os.sched_getaffinity(0))


@pytest.fixture
def machine(tmp_path):
    """Return what writes the control groups of a process and gives the two paths to read."""

    def made(own, files):
        for name, content in files.items():
            path = tmp_path / "groups" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        (tmp_path / "own").write_text(own)
        return tmp_path / "own", tmp_path / "groups"

    return made


def test_version_2_reads_the_own_group_and_its_parents(machine):
    files = machine(
        "0::/slice/job/step\n",
        {
            "slice/cpu.max": "800000 100000\n",
            "slice/job/cpu.max": "300000 100000\n",
            "slice/job/step/cpu.max": "max 100000\n",
            "slice/other/cpu.max": "100000 100000\n",
            "cpu.max": "max 100000\n",
        },
    )
    assert group_limits(*files) == [3, 8]


def test_version_1_reads_quota_and_period(machine):
    files = machine(
        "5:cpuset:/a\n4:cpu,cpuacct:/a/b\n0::/\n",
        {
            "cpu,cpuacct/a/b/cpu.cfs_quota_us": "250000\n",
            "cpu,cpuacct/a/b/cpu.cfs_period_us": "100000\n",
            "cpu,cpuacct/a/cpu.cfs_quota_us": "-1\n",
            "cpu,cpuacct/a/cpu.cfs_period_us": "100000\n",
            "cpu/cpu.cfs_quota_us": "400000\n",
            "cpu/cpu.cfs_period_us": "100000\n",
            "cpuset/a/cpu.cfs_quota_us": "100000\n",
            "cpuset/a/cpu.cfs_period_us": "100000\n",
        },
    )
    assert group_limits(*files) == [2, 4]


def test_in_a_container_the_path_of_the_host_may_be_missing(machine):
    files = machine("0::/docker/1234\n", {"cpu.max": "150000 100000\n"})
    assert group_limits(*files) == [1]


@pytest.mark.parametrize("content", ["", "max\n", "nonsense here\n", "100000 0\n"])
def test_files_without_a_limit_give_none(machine, content):
    assert group_limits(*machine("0::/\n", {"cpu.max": content})) == []


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, CORES),
        ({"OMP_NUM_THREADS": "1"}, 1),
        ({"OMP_NUM_THREADS": "1,4"}, 1),
        ({"OMP_NUM_THREADS": "many"}, CORES),
        ({"OMP_NUM_THREADS": "1000"}, CORES),
        ({"SLURM_CPUS_PER_TASK": "1"}, 1),
        ({"SLURM_CPUS_ON_NODE": "1"}, 1),
        ({"SLURM_CPUS_PER_TASK": "1", "OMP_NUM_THREADS": "8"}, 1),
    ],
)
def test_the_smallest_limit_of_the_environment_wins(machine, variables, expected):
    assert usable_cpus(variables, *machine("0::/\n", {"cpu.max": "max 100000\n"})) == expected


def test_less_than_a_cpu_is_one_thread(machine):
    assert usable_cpus({}, *machine("0::/\n", {"cpu.max": "50000 100000\n"})) == 1


def test_where_there_are_no_control_groups_the_cores_count(tmp_path):
    assert usable_cpus({}, tmp_path / "none", tmp_path / "nowhere") == CORES
