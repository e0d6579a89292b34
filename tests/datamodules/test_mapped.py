"""Data mapped from flat files against the same data in memory: the same bits, whatever happens to the files."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from datamodules.budget import allowed, choose, parse
from datamodules.mapped import DEPTH, Ahead, MappedStore
from datamodules.schema import Columns, read, write
from datamodules.store import TransitionStore
from tests.datamodules.test_store import discrete_columns, without_finals
from tests.run.runs import content, differences, environment, newest, run, start
from tests.support import small_columns
from vgm2p.envs.observation import agents_view
from vgm2p.errors import ConfigError, DataError, MissingInput
from vgm2p.rng import StaticKey, UpdateKey

FIELDS = ("next_action", "state", "next_state", "return_to_go")
LENGTHS = (40, 7, 5, 23, 60)


def omiga_columns() -> Columns:
    columns = small_columns(3, LENGTHS)
    robot = columns.steps.pop("robot_observation")
    columns.steps["observations"] = agents_view(torch.from_numpy(robot), 2, "omiga").numpy()
    columns.attributes["stored_view"] = "omiga"
    return without_finals(columns)


def native_columns() -> Columns:
    columns = discrete_columns()
    total = len(columns.steps["t"])
    columns.steps.pop("robot_observation")
    rng = np.random.default_rng(5)
    columns.steps["observations"] = rng.normal(size=(total, 2, 4)).astype(np.float32)
    columns.steps["state"] = rng.normal(size=(total, 6)).astype(np.float32)
    columns.steps["agent_rewards"] = rng.normal(size=(total, 2)).astype(np.float32)
    return columns


def state_per_agent() -> Columns:
    columns = native_columns()
    columns.steps["state"] = np.repeat(columns.steps["state"][:, None], 2, 1)
    return columns


ROBOT = lambda: small_columns(3, LENGTHS)  # noqa: E731
CASES = {
    "robot": (ROBOT, {}),
    "robot, omiga's view": (ROBOT, {"view": "omiga"}),
    "robot, omiga's view standardised": (ROBOT, {"view": "omiga", "obs_norm": "dataset"}),
    "robot, not standardised": (ROBOT, {"obs_norm": "none"}),
    "robot, drop": (ROBOT, {"timeouts": "drop"}),
    "robot, self": (ROBOT, {"timeouts": "self"}),
    "omiga's vectors": (omiga_columns, {"view": "omiga", "timeouts": "terminal"}),
    "omiga's vectors undone": (omiga_columns, {"view": "raw_onehot", "timeouts": "terminal"}),
    "discrete": (native_columns, {"view": "native"}),
    "discrete, standardised": (native_columns, {"view": "native", "obs_norm": "dataset"}),
    "state per agent": (state_per_agent, {"view": "native", "timeouts": "terminal"}),
}


def both(tmp_path, files, verify="never", **options) -> tuple[TransitionStore, MappedStore]:
    options = {"view": "raw_onehot", "obs_norm": "auto", "timeouts": "bootstrap", "verify": verify, **options}
    paths = []
    for i, columns in enumerate(files):
        paths.append(tmp_path / f"{i}.h5")
        if columns is not None:
            write(paths[-1], columns)
    return TransitionStore.load(paths, **options), MappedStore.map(paths, tmp_path / "cache", **options)


def assert_same(one: TransitionStore, two: MappedStore, updates=(0, 1, 2, 63, 64, 65, 3, 4, 700, 701), batch=33):
    for field in ("spec", "returns"):
        assert getattr(one, field) == getattr(two, field)
    assert {**one.summary, "bytes": 0} == {**two.summary, "bytes": 0}
    assert all(torch.equal(a, b) for a, b in zip(one.statistics, two.statistics, strict=True))
    fields = tuple(name for name in FIELDS if one.spec.state_dim is not None or "state" not in name)
    for store in (one, two):
        store.add_return_to_go(0.9)
    key, other = UpdateKey([3, 4]), UpdateKey([3, 4])
    for update in updates:
        drawn = vars(one.draw(key.at(update), batch, fields, 3)), vars(two.draw(other.at(update), batch, fields, 3))
        for name, value in drawn[0].items():
            found = drawn[1][name]
            assert value is found is None or (torch.equal(value, found) and value.dtype == found.dtype), name
    two.close()


@pytest.mark.parametrize("name", CASES)
def test_every_kind_of_data_is_drawn_with_the_same_bits(name, tmp_path):
    make, options = CASES[name]
    resident, mapped = both(tmp_path, [make()], **options)
    assert (resident.resident, mapped.resident) == (True, False)
    assert_same(resident, mapped)


@pytest.mark.parametrize("name", CASES)
def test_the_best_episodes_are_drawn_with_the_same_bits(name, tmp_path):
    make, options = CASES[name]
    resident, mapped = both(tmp_path, [make()], **options)
    assert_same(resident.best_episodes(0.5), mapped.best_episodes(0.5))


def test_several_files_are_mapped_as_one(tmp_path):
    assert_same(*both(tmp_path, [small_columns(0), small_columns(1, LENGTHS), small_columns(2)]))
    other = small_columns()
    other.attributes["env_id"] = "other"
    with pytest.raises(DataError, match="env_id"):
        MappedStore.map(
            [write_to(tmp_path / "a.h5", small_columns()), write_to(tmp_path / "b.h5", other)],
            tmp_path, "raw_onehot", "auto", "bootstrap", "never",
        )  # fmt: skip


def write_to(path, columns):
    write(path, columns)
    return path


def test_other_batches_and_other_keys_begin_anew(tmp_path):
    resident, mapped = both(tmp_path, [small_columns()])
    key = UpdateKey([0])
    for update, batch in ((0, 8), (1, 9), (2, 8)):
        assert torch.equal(resident.draw(key.at(update), batch).obs, mapped.draw(key.at(update), batch).obs)
    static = StaticKey([0], "cpu")
    assert torch.equal(resident.draw(static.at(5), 8).obs, mapped.draw(static.at(5), 8).obs)
    mapped.close()


# --- the files ----------------------------------------------------------------------------------------------------------


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
    MappedStore.map([path], tmp_path / "cache", *options, "auto")
    data = bytearray(path.read_bytes())
    at = data.find(small_columns().steps["robot_observation"].tobytes()[:64])
    data[at + 5] ^= 1
    path.write_bytes(data)
    for cache in ("cache", "other"):  # where flat files are at hand, and where they must be made
        with pytest.raises(DataError, match="differs from its hash"):
            MappedStore.map([path], tmp_path / cache, *options, "auto")
    assert [p.suffix for p in (tmp_path / "other" / "flat").iterdir()] == [".lock"]
    with pytest.raises(MissingInput):
        MappedStore.map([tmp_path / "none.h5"], tmp_path / "cache", *options, "auto")


def test_numbers_that_break_the_rules_are_found_when_flat_files_are_made(tmp_path):
    columns = small_columns()
    columns.steps["robot_observation"][11, 1] = np.nan
    with pytest.raises(DataError, match="first in row 11"):
        MappedStore.map([write_to(tmp_path / "x.h5", columns)], tmp_path, "raw_onehot", "auto", "bootstrap", "auto")
    assert [p.suffix for p in (tmp_path / "flat").iterdir()] == [".lock"]


MAKE = (
    "import sys; from pathlib import Path; from vgm2p.build import claim_packages; claim_packages();"
    "from datamodules.mapped import MappedStore;"
    "store = MappedStore.map([Path(sys.argv[1])], Path(sys.argv[2]), 'raw_onehot', 'auto', 'bootstrap', 'never',"
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
from vgm2p.build import claim_packages
claim_packages()
import torch
from datamodules.mapped import MappedStore
from vgm2p.rng import UpdateKey
torch.set_num_threads(1)
UpdateKey([0]).at(0).integers("warm", (4,), 9)
peak = lambda: int(next(x for x in open("/proc/self/status") if x.startswith("VmHWM")).split()[1]) / 1024
before = peak()
store = MappedStore.map([Path(sys.argv[1])], Path(sys.argv[2]), "native", "dataset", "terminal", "auto")
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
    steps = {
        "observations": rng.random((rows, agents, width), np.float32),
        "actions": rng.random((rows, agents, 1), np.float32),
        "rewards": rng.random(rows, np.float32),
        "has_action": np.ones(rows, np.uint8),
        "terminal": np.zeros(rows, np.uint8),
        "timeout": np.zeros(rows, np.uint8),
        "t": np.tile(np.arange(episode, dtype=np.int32), count),
    }
    steps["terminal"][episode - 1 :: episode] = 1
    start = np.arange(count, dtype=np.int64) * episode
    length = np.full(count, episode, np.int32)
    episodes = {
        "start": start, "rows": length, "length": length, "end": np.zeros(count, np.uint8),
        "return": np.add.reduceat(steps["rewards"].astype(np.float64), start),
    }  # fmt: skip
    attributes = {**small_columns().attributes, "n_agents": agents, "episode_limit": episode}
    return Columns(steps, episodes, attributes)


# --- the threads --------------------------------------------------------------------------------------------------------


def test_batches_come_in_order_and_few_are_made_ahead():
    made = []
    ahead = Ahead(lambda update: made.append(update) or update, ())
    for update in (*range(5, 40), *range(20, 30)):
        assert ahead.take(update) == update
        assert max(made) <= max(update, 39) + DEPTH
    ahead.close()


def test_what_goes_wrong_in_the_thread_is_raised_where_the_batch_is_asked_for():
    def broken(update):
        if update == 3:
            raise OSError(5, "Input/output error", "flat")
        return update

    ahead = Ahead(broken, ())
    assert [ahead.take(update) for update in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="Input/output"):
        ahead.take(3)
    ahead.close()


# --- runs ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("resident") / "run"
    done = run(out)
    assert done.returncode == 0, done.stderr
    assert "MB resident, of" in done.stdout
    return out


def test_a_run_on_mapped_data_is_that_on_resident_data(whole, tmp_path):
    done = run(tmp_path / "run", data__max_resident=1)
    assert done.returncode == 0, done.stderr
    assert "mapped from disk" in done.stdout
    assert differences(whole, tmp_path / "run") == []


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_and_another_way_to_hold_the_data_goes_on(signum, whole, tmp_path):
    out = tmp_path / "run"
    slow = "import vgm2p.module as m, time; r=m.OfflineModule._draw\ndef d(*a):\n    print('T', flush=True); time.sleep(.02); return r(*a)\nm.OfflineModule._draw=d"
    process = start(out, slow, data__max_resident="1kB")
    assert "T\n" in iter(process.stdout.readline, "")
    os.kill(process.pid, signum)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signum
    assert len(errors.strip().splitlines()) == 1, errors
    assert 0 < content(out)["vgm2p"]["updates"] < 60
    assert newest(out).exists()
    assert run(out).returncode == 0
    assert differences(whole, out) == []


def test_an_error_of_the_disk_is_one_line(tmp_path):
    broken = (
        "import datamodules.mapped as m\ndef bad(self, column, rows): raise OSError(5, 'Input/output error', 'flat')\n"
        "before = m.MappedStore.to\ndef to(self, device): m.MappedStore._gather = bad; return before(self, device)\n"
        "m.MappedStore.to = to"
    )
    done = run(tmp_path / "run", broken, data__max_resident=1)
    assert done.returncode == 74
    assert done.stderr.strip().splitlines() == [
        "vgm2p: flat: Input/output error; free space, fix permissions, or choose another out="
    ]


def test_capture_is_refused_on_mapped_data(monkeypatch, capsys):
    from vgm2p.fit import _check_capture

    with pytest.raises(ConfigError, match=r"data\.max_resident"):
        _check_capture({"trainer": {"capture": True, "accelerator": "cpu"}}, resident=False)
    _check_capture({"trainer": {"capture": True, "accelerator": "cpu"}}, resident=True)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "a GPU")
    _check_capture({"trainer": {"capture": "auto", "accelerator": "cuda"}}, resident=False)
    assert capsys.readouterr().out == "capture      off: updates on data mapped from disk run eagerly\n"


# --- the choice ---------------------------------------------------------------------------------------------------------


def test_sizes_are_understood_or_refused():
    assert [parse(size) for size in (7, "7", "4GiB", "500 MB", "1.5kB", "2g", "1e9")] == [
        7, 7, 4 << 30, 500_000_000, 1500, 2 * 10**9, 10**9,
    ]  # fmt: skip
    for size in ("much", "4 gigs", "-1", "", "GiB", "nan"):
        with pytest.raises(ConfigError, match="max_resident"):
            parse(size)


def test_the_choice_counts_what_is_held(tmp_path):
    for i, (make, options) in enumerate(CASES.values()):
        path = write_to(tmp_path / f"{i}.h5", make())
        view = options.get("view", "raw_onehot")
        store = TransitionStore.load([path], **{**options, "view": view})
        raw = sum(array.nbytes for array in read(path).steps.values())
        need = int(choose([path], view, "1GB", torch.device("cpu")).resident)
        assert need == 1
        held = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in store.columns.values()}
        arrays = {a.__array_interface__["data"][0] for a in store._columns.steps.values()}
        total = raw + sum(size for address, size in held.items() if address not in arrays)
        low, high = (choose([path], view, int(total * share), torch.device("cpu")) for share in (0.7, 1.3))
        assert (low.resident, high.resident) == (False, True), (low.line, high.line, total)
        assert "data.max_resident" in low.line
    limit, why = allowed("auto", torch.device("cpu"))
    assert 0 < limit < 10**15
    assert why == "half of free memory"
