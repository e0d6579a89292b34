"""The flat files behind mapped data: damaged, half-made, made by two at once, and larger than memory should be."""

import subprocess
import sys
import time

import numpy as np
import pytest

from tests.datamodules.datasets import write_to
from tests.datamodules.equivalence import assert_same, both
from tests.run.runs import environment
from tests.support import small_columns
from vgm2p.datamodules.layout.episodes import Episodes
from vgm2p.datamodules.layout.reading import read
from vgm2p.datamodules.layout.schema import TERMINAL
from vgm2p.datamodules.layout.writing import store
from vgm2p.datamodules.store.transitions import TransitionStore
from vgm2p.errors import DataError, MissingInput


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


DAMAGES = {
    "flipped": flip,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-3]),
    "emptied": lambda path: path.write_bytes(b""),
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("what", [".actions", ".robot_observation", ".json"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_flat_file_is_told_and_made_again(what, damage, tmp_path, capsys):
    resident, mapped = both(tmp_path, [small_columns()], verify="auto")
    path = next(path for path in (tmp_path / "cache" / "flat").iterdir() if path.name.endswith(what))
    del mapped
    before = {p.name: p.read_bytes() for p in path.parent.iterdir()}
    capsys.readouterr()
    DAMAGES[damage](path)
    _, again = both(tmp_path, [None], verify="auto")
    told = capsys.readouterr().out
    assert "writing" in told
    assert "making the flat files again" in told or (what, damage) == (".json", "gone")
    assert {p.name: p.read_bytes() for p in path.parent.iterdir()} == before
    assert_same(resident, again)
    both(tmp_path, [None], verify="full")
    assert capsys.readouterr().out == ""


def test_a_damaged_source_is_not_mapped(tmp_path):
    path = write_to(tmp_path / "0.h5", small_columns())
    options = ("raw_onehot", "auto", "bootstrap")
    TransitionStore.map([path], tmp_path / "cache", *options, "auto")
    data = bytearray(path.read_bytes())
    at = data.find(small_columns().steps["robot_observation"].tobytes()[:64])
    data[at + 5] ^= 1
    path.write_bytes(data)
    for cache in ("cache", "other"):  # where flat files are at hand, and where they must be made
        with pytest.raises(DataError, match="differs from its hash"):
            TransitionStore.map([path], tmp_path / cache, *options, "auto")
    assert [p.suffix for p in (tmp_path / "other" / "flat").iterdir()] == [".lock"]
    with pytest.raises(MissingInput):
        TransitionStore.map([tmp_path / "none.h5"], tmp_path / "cache", *options, "auto")


def test_numbers_that_break_the_rules_are_found_when_flat_files_are_made(tmp_path):
    columns = small_columns()
    columns.steps["robot_observation"][11, 1] = np.nan
    with pytest.raises(DataError, match="first in row 11"):
        store(tmp_path / "x.h5", columns)
        TransitionStore.map([tmp_path / "x.h5"], tmp_path, "raw_onehot", "auto", "bootstrap", "auto")
    assert [p.suffix for p in (tmp_path / "flat").iterdir()] == [".lock"]


MAKE = (
    "import sys; from pathlib import Path;"
    "from vgm2p.datamodules.store.transitions import TransitionStore;"
    "store = TransitionStore.map([Path(sys.argv[1])], Path(sys.argv[2]), 'raw_onehot', 'auto', 'bootstrap', 'never',"
    " lambda line: print(line, flush=True)); print(store.summary['digest'])"
)


def making(path, cache):
    command = [sys.executable, "-c", MAKE, str(path), str(cache)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())


def large(tmp_path, rows=400_000):
    columns = small_columns(0, (rows // 4,) * 4, width=20)
    columns.attributes["episode_limit"] = rows
    return write_to(tmp_path / "large.h5", columns)


def test_a_kill_in_the_middle_leaves_nothing_and_the_next_process_makes_them(tmp_path):
    path = large(tmp_path)
    process = making(path, tmp_path)
    assert "writing" in process.stdout.readline()
    time.sleep(0.02)
    process.kill()
    process.wait()
    assert not list((tmp_path / "flat").glob("*.json"))
    again = making(path, tmp_path)
    told, errors = again.communicate()
    assert again.returncode == 0, errors
    assert "writing" in told
    names = sorted(p.name for p in (tmp_path / "flat").iterdir() if not p.name.endswith(".lock"))
    digest = told.split()[-1]
    assert names == [f"{digest}.actions", f"{digest}.json", f"{digest}.robot_observation"]
    columns = read(path, verify="never")
    assert (tmp_path / "flat" / names[2]).read_bytes() == columns.steps["robot_observation"].tobytes()


def test_two_processes_at_once_make_them_once(tmp_path):
    path = large(tmp_path)
    processes = [making(path, tmp_path) for _ in range(2)]
    told = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], told
    assert sum("writing" in out for out, _ in told) == 1


MEMORY = """
import sys
from pathlib import Path
import torch
from vgm2p.datamodules.store.transitions import TransitionStore
from vgm2p.rng import UpdateKey
torch.set_num_threads(1)
UpdateKey([0]).at(0).integers("warm", (4,), 9)
peak = lambda: int(next(x for x in open("/proc/self/status") if x.startswith("VmHWM")).split()[1]) / 1024
before = peak()
store = TransitionStore.map([Path(sys.argv[1])], Path(sys.argv[2]), "native", "dataset", "terminal", "auto")
print("made", peak() - before)
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_gigabyte_is_laid_flat_in_little_memory(tmp_path):
    rows = 1_000_000
    columns = native_columns_of(rows)
    raw = sum(array.nbytes for array in columns.steps.values())
    assert raw > 1e9
    path = write_to(tmp_path / "large.h5", columns)
    del columns
    for _ in range(2):  # made, then mapped
        done = subprocess.run(
            [sys.executable, "-c", MEMORY, str(path), str(tmp_path)], capture_output=True, text=True, env=environment()
        )
        assert done.returncode == 0, done.stderr
        print(done.stdout)
        assert 1 < float(done.stdout.split()[-1]) < 300


def native_columns_of(rows, agents=6, width=44, episode=100):
    """Continuous native data without final observations."""
    rng = np.random.default_rng(0)
    count = rows // episode
    episodes = Episodes(np.full(count, episode), np.full(count, TERMINAL), finals=False)
    steps = {
        "observations": rng.random((rows, agents, width), np.float32),
        "actions": rng.random((rows, agents, 1), np.float32),
        "rewards": rng.random(rows, np.float32),
    }
    attributes = {**small_columns().attributes, "n_agents": agents, "episode_limit": episode}
    return episodes.columns(steps, attributes)
