"""Runs that draw steps by return, and the spread of their policies: what they say and keep, and how they go on."""

import json

import pytest

from tests.run.runs import differences, run, succeeded
from vgm2p.errors import DataError
from vgm2p.run.csv_log import CsvLog

# After training, Lightning moves the networks to the CPU. On a GPU, the data are elsewhere then.
NO_DATA_AT_THE_END = """
from vgm2p.datamodules.store.transitions import TransitionStore
from vgm2p.training.module import OfflineModule
moved = OfflineModule.cpu
def cpu(module):
    TransitionStore.draw = None
    return moved(module)
OfflineModule.cpu = cpu
"""
BY_RETURN = {"data__sampling": "return", "data__ess": 0.2}


def test_a_run_that_draws_by_return_says_so_keeps_it_and_goes_on_bit_for_bit(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    said = succeeded(run(whole, **BY_RETURN)).stdout
    (line,) = [line for line in said.splitlines() if line.startswith("sampling")]
    kept = json.loads((whole / "results.json").read_text())["sampling"]
    assert f"by return: temperature {kept['temperature']:.4g}, effective sample size 0.2 of the steps" in line
    assert kept["ess"] == pytest.approx(0.2) and kept["return_mean"] > 2000 > kept["temperature"] > 0
    assert json.loads((whole / "manifest.json").read_text())["data"]["sampling"] == kept
    succeeded(run(parts, updates=25, block_updates=3, **BY_RETURN))
    succeeded(run(parts, **BY_RETURN))
    assert differences(whole, parts) == []


def test_another_draw_is_another_run(tmp_path):
    succeeded(run(tmp_path / "one", updates=20, **BY_RETURN))
    refused = run(tmp_path / "one", updates=40)
    assert refused.returncode == 2 and "was started with other settings: data.ess: 0.2 -> auto" in refused.stderr


def test_the_last_log_has_the_spread_of_the_policy_and_is_measured_where_the_data_are(tmp_path):
    succeeded(run(tmp_path / "one", NO_DATA_AT_THE_END, updates=24, eval_every=24))
    rows = CsvLog(tmp_path / "one/metrics.csv").rows()
    assert [int(row["update"]) for row in rows] == [7, 14, 21, 24]
    assert all(float(row["draw_std"]) > 0 and float(row["residual_std"]) > 0 for row in rows)


def test_a_log_with_other_columns_is_refused_and_nothing_is_dropped(tmp_path):
    log = CsvLog(tmp_path / "metrics.csv")
    log.append([{"update": 1, "policy_loss": 0.5}])
    before = log.path.read_bytes()
    for row in ({"update": 2, "policy_loss": 0.5, "draw_std": 1.0}, {"update": 2, "draw_std": 1.0}, {"update": 2}):
        with pytest.raises(DataError, match="some rows have no"):
            log.append([row])
    with pytest.raises(DataError, match="some rows have no score"):
        CsvLog(tmp_path / "new.csv").append([{"update": 1}, {"update": 1, "score": 2.0}])
    assert not (tmp_path / "new.csv").exists()
    assert log.path.read_bytes() == before


def test_a_run_that_only_repeats_its_last_evaluation_logs_the_same_last_window(tmp_path):
    for name in ("whole", "again"):
        succeeded(run(tmp_path / name, updates=25))
    (tmp_path / "again/results.json").unlink()
    succeeded(run(tmp_path / "again", updates=25))
    assert differences(tmp_path / "whole", tmp_path / "again") == []
    assert CsvLog(tmp_path / "again/metrics.csv").rows()[-1]["draw_std"]
