"""TensorBoard's own reader finds the numbers of a run: seeds under one name, intervals, settings, one event per step."""

import csv

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from tests.run.runs import SMALL, results, run, succeeded
from vgm2p.envs.base import Episode
from vgm2p.report.estimates import wilson
from vgm2p.training.logs import evaluation_tags

TENSORBOARD = {"logger__tensorboard": None, "log_every": None}  # the program's own values


def events(folder):
    found = EventAccumulator(str(folder))
    found.Reload()
    return found


def scalars(folder):
    """Return tag -> [(step, value)] of the events that TensorBoard shows."""
    found = events(folder)
    return {tag: [(each.step, each.value) for each in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def logged(out):
    """Return (seed, update) -> row of metrics.csv."""
    with (out / "metrics.csv").open() as file:
        return {(int(row["seed"]), int(row["update"])): row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def two_seeds(tmp_path_factory):
    """A run of two seeds and 25 updates, far fewer than 500."""
    out = tmp_path_factory.mktemp("runs") / "two"
    succeeded(run(out, **{**SMALL, "updates": 25}, seeds=2, eval_episodes=2, **TENSORBOARD))
    return out


def test_a_short_run_logs_its_first_and_its_last_updates(two_seeds):
    rows = logged(two_seeds)
    assert list(rows) == [(seed, update) for update in (10, 20, 25) for seed in (0, 1)]
    assert all(float(row["policy_loss"]) for row in rows.values())


def test_seeds_have_the_names_of_their_mean_in_folders_of_their_own(two_seeds):
    mean, first, second = (scalars(two_seeds / "tensorboard" / name) for name in ("", "seed0", "seed1"))
    assert mean.keys() == first.keys() == second.keys()
    assert not [tag for tag in mean if "seed" in tag]
    rows = logged(two_seeds)
    for seed, found in enumerate((first, second)):
        expected = [(update, float(rows[seed, update]["policy_loss"])) for update in (10, 20, 25)]
        assert found["train/policy_loss"] == [(step, pytest.approx(value)) for step, value in expected]
    for tag in ("train/policy_loss", "evaluation/return"):
        pairs = zip(mean[tag], first[tag], second[tag], strict=True)
        assert all(middle == (one[0], pytest.approx((one[1] + two[1]) / 2)) for middle, one, two in pairs)


def test_evaluations_have_intervals_and_a_chart_that_shows_them(two_seeds):
    found, stored = scalars(two_seeds / "tensorboard"), results(two_seeds)
    assert [step for step, _ in found["evaluation/return"]] == [0, 10, 20, 25]
    assert found["evaluation/return"][-1][1] == pytest.approx(stored["return_mean"])
    ends = [found[f"evaluation/return_{end}"][-1][1] for end in ("low", "high")]
    assert ends == pytest.approx(stored["return_ci95"])
    content = events(two_seeds / "tensorboard").Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0]
    chart = Layout.FromString(content).category[0].chart[0]
    series = chart.margin.series[0]
    assert [series.value, series.lower, series.upper] == [f"evaluation/return{end}" for end in ("", "_low", "_high")]


def test_hparams_shows_the_settings(two_seeds):
    metadata = events(two_seeds / "tensorboard").summary_metadata["_hparams_/session_start_info"]
    shown = HParamsPluginData.FromString(metadata.plugin_data.content).session_start_info.hparams
    assert shown["algorithm"].string_value == "vgm2p_plus"
    assert shown["net.width"].number_value == 16
    assert shown["seed"].number_value == 0


def test_a_run_that_goes_on_loses_no_event_and_hides_those_of_lost_updates(tmp_path):
    """First as a shorter run that ended, then from a checkpoint before events that were written already."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    keys = {"eval_every": 20, "checkpoint_every": 20, "checkpoint_keep": 9, **TENSORBOARD}
    succeeded(run(whole, updates=60, **keys))
    succeeded(run(cut, updates=40, **keys))
    succeeded(run(cut, updates=60, **keys))
    assert (cut / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()
    for path in (cut / "results.json", *(cut / "checkpoints").glob("*60.ckpt*")):
        path.unlink()
    succeeded(run(cut, updates=60, **keys))
    one, two = scalars(whole / "tensorboard"), scalars(cut / "tensorboard")
    assert one.keys() == two.keys()
    assert [step for step, _ in one["train/policy_loss"]] == [10, 20, 50, 60]
    for tag, found in one.items():
        assert set(found) <= set(two[tag])
        steps = [step for step, _ in two[tag]]
        assert {*steps} == {step for step, _ in found} | {40}  # the shorter run has logged its end
        assert [step for step in steps if step != 40] == [step for step, _ in found if step != 40]


def test_victories_have_a_rate_with_its_interval_and_a_single_episode_has_no_interval_of_its_return():
    battles = [Episode(0, e, float(e), 9, True, e < 3, extra={"score": 2.0}) for e in range(4)]
    found = evaluation_tags(battles)
    assert found["evaluation/win_rate"] == 0.75 and found["evaluation/score"] == 2.0
    ends = found["evaluation/win_rate_low"], found["evaluation/win_rate_high"]
    assert ends == wilson(3, 4)
    assert {"evaluation/return_low", "evaluation/return_high"} <= found.keys()
    assert not [name for name in evaluation_tags(battles[:1]) if name.startswith("evaluation/return_")]
