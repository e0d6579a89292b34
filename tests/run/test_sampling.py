"""Runs that draw steps by return: what they say, what they keep, and how they go on."""

import json

import pytest

from tests.run.runs import differences, run, succeeded

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
    assert refused.returncode == 2 and "was started with other settings: data.ess: 0.2 -> 0.1" in refused.stderr
