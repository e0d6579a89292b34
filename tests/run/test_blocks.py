"""Blocks of 1, 7 and 50 updates change no bit; intervals change no weight; several seeds are reported one by one."""

import tracemalloc

import pytest

from tests.run.runs import differences, results, run, succeeded
from vgm2p.datamodules.offline import Blocks
from vgm2p.run.csv_log import CsvLog


@pytest.mark.parametrize(("start", "total"), [(0, 0), (0, 1), (0, 600), (37, 600), (60, 601), (599, 600), (600, 600)])
@pytest.mark.parametrize("intervals", [[60, 90], [7, 7, 49], [1], [1000], [4, 6, 10, 15]])
def test_blocks_are_counted_without_being_made(start, total, intervals):
    blocks = Blocks(start, total, 50, intervals, (10, 20, 49, 50, 100))
    assert len(blocks) == len(list(blocks))
    assert {last for _, last in blocks} >= {update for update in (10, 20, 49, 50, 100) if start < update < total}
    assert list(blocks) == list(blocks)  # each loop begins anew


def test_the_blocks_of_a_long_run_take_no_memory():
    tracemalloc.start()
    blocks = Blocks(0, 400_000_000, 50, [50_000, 500, 35])
    count, first = len(blocks), next(iter(blocks))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 400_000_000 // 50 + 400_000_000 // 35 - 400_000_000 // 350
    assert first == (0, 35)
    assert peak < 100_000


@pytest.fixture(scope="module")
def singly(tmp_path_factory):
    out = tmp_path_factory.mktemp("blocks") / "k1"
    succeeded(run(out, block_updates=1, updates=60))
    return out


@pytest.mark.parametrize("block", [7, 50])
def test_the_block_size_changes_no_weight_no_log_and_no_result(singly, tmp_path, block):
    out = tmp_path / "other"
    assert run(out, block_updates=block, updates=60).returncode == 0
    assert differences(singly, out) == []


def test_intervals_of_evaluation_and_saving_change_no_weight(singly, tmp_path):
    out = tmp_path / "other"
    assert run(out, eval_every=9, checkpoint_every=13, log_every=60).returncode == 0
    found = differences(singly, out)
    assert set(found) <= {"metrics.csv", "episodes.csv", "results.json"}


def test_evaluations_change_no_weight_and_begin_with_the_untrained_policy(singly, tmp_path):
    assert run(tmp_path / "blind", evaluate="none", updates=60).returncode == 0
    assert set(differences(singly, tmp_path / "blind")) == {"episodes.csv", "results.json"}
    rows = CsvLog(singly / "episodes.csv").rows()
    assert list(dict.fromkeys(row["update"] for row in rows)) == ["0", "20", "40", "60"]


def test_joint_seeds_report_each_seed(tmp_path):
    out = tmp_path / "two"
    done = succeeded(run(out, seed=3, seeds=2))
    assert "S=2 (seed 3)" in done.stdout
    rows = (out / "metrics.csv").read_text().splitlines()
    assert [row.split(",")[1] for row in rows[1:5]] == ["3", "4", "3", "4"]
    found = results(out)
    assert found["seeds"] == [3, 4]
    assert len(found["per_seed"]) == 2
    assert found["per_seed"][0] != found["per_seed"][1]
    assert found["return_mean"] == pytest.approx(sum(found["per_seed"]) / 2)
