"""The statistics of a dataset against numpy's, over the rows themselves."""

import numpy as np
import pytest
import torch

from tests.datamodules.datasets import CASES, LENGTHS, discrete_columns, store_of
from tests.datamodules.equivalence import both
from tests.support import small_columns
from vgm2p.datamodules.store.transitions import TransitionStore
from vgm2p.errors import ConfigError
from vgm2p.rng import UpdateKey
from vgm2p.types import Needs


def held(columns, obs_norm="auto"):
    return TransitionStore.hold(columns, "raw_onehot", obs_norm, "bootstrap")


def acting(columns, name):
    return columns.steps[name][columns.steps["has_action"].astype(bool)]


@pytest.mark.parametrize("obs_norm", ["auto", "none"])
def test_quantiles_are_those_of_standardised_observations_and_of_actions_of_all_agents(obs_norm):
    columns = small_columns(lengths=LENGTHS)
    survey, shares = held(columns, obs_norm).survey(0.9), np.linspace(0, 1, 7)
    robot = acting(columns, "robot_observation").astype(np.float64)
    if obs_norm == "auto":
        robot = (robot - robot.mean(0)) / robot.std(0)
    found = survey.obs_quantiles(7)
    assert found.shape == (5, 7)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found[:3], np.quantile(np.repeat(robot, 2, 0), shares, axis=0).T, rtol=1e-4, atol=1e-5)
    ones = np.repeat([0.0, 1.0], len(robot))  # a one-hot of two agents is 1 in half of the vectors
    np.testing.assert_allclose(found[3:], np.tile(np.quantile(ones, shares), (2, 1)))
    actions = acting(columns, "actions").reshape(-1, 1)
    np.testing.assert_allclose(survey.action_quantiles(4), np.quantile(actions, np.linspace(0, 1, 4), axis=0).T)
    assert held(discrete_columns()).survey(0.9).action_quantiles is None


def test_mean_and_deviation_are_those_that_observations_are_standardised_by():
    columns = small_columns(lengths=LENGTHS)
    survey, robot = held(columns).survey(0.9), acting(columns, "robot_observation").astype(np.float64)
    np.testing.assert_allclose(survey.mean, [*robot.mean(0), 0, 0], rtol=1e-6)
    np.testing.assert_allclose(survey.std, [*robot.std(0), 1, 1], rtol=1e-6)
    assert held(columns, "none").survey(0.9).std.tolist() == [1] * 5


def test_the_quantile_of_the_returns_is_over_every_step():
    columns = small_columns(lengths=LENGTHS)
    store, needs = held(columns), Needs(frozenset(("return_to_go",)))
    store.provide(needs, 0.9)
    drawn = store.draw(UpdateKey([0]).at(0), 4000, needs).return_to_go
    survey = store.survey(0.9)
    assert survey.return_quantile(1.0) == drawn.max()
    assert survey.return_quantile(0.0) == drawn.min()
    assert survey.return_quantile(0.99).shape == ()
    assert abs((drawn <= survey.return_quantile(0.7)).float().mean() - 0.7) < 0.03
    assert store.survey(0.5).return_quantile(1.0) != survey.return_quantile(1.0)
    with pytest.raises(ConfigError, match="below 1"):
        store.survey(1.0).return_quantile(0.5)


def test_of_many_rows_some_are_taken_evenly_from_the_first_to_the_last(monkeypatch):
    columns = small_columns(lengths=LENGTHS)
    columns.steps["robot_observation"][:, 0] = np.arange(len(columns.steps["t"]))
    rows = np.flatnonzero(columns.steps["has_action"])
    store = held(columns, "none")
    for name, most in (("ROWS", 5), ("OBS_BYTES", 5 * 2 * 5 * 4)):
        with monkeypatch.context() as patch:
            patch.setattr(f"vgm2p.datamodules.store.survey.{name}", most)
            found = store.survey(0.9).obs_quantiles(5)[0]
        assert found.tolist() == rows[[0, 33, 67, 100, 134]].tolist()
    assert store.survey(0.9).obs_quantiles(5)[0, 2] == np.median(rows)


@pytest.mark.parametrize("name", CASES)
def test_mapped_data_have_the_statistics_of_resident_data(name, tmp_path):
    make, options = CASES[name]
    for one, two in (
        both(tmp_path, [make()], **options),
        [s.best_episodes(0.5) for s in both(tmp_path, [None], **options)],
    ):
        one, two = one.survey(0.9), two.survey(0.9)
        assert torch.equal(one.mean, two.mean) and torch.equal(one.std, two.std)
        assert torch.equal(one.obs_quantiles(9), two.obs_quantiles(9))
        assert torch.equal(one.return_quantile(0.5), two.return_quantile(0.5))
        assert (one.action_quantiles is None) == (two.action_quantiles is None)
        if one.action_quantiles is not None:
            assert torch.equal(one.action_quantiles(9), two.action_quantiles(9))


def moments(store):
    survey = store.survey(0.0)
    return survey.mean, survey.std


def test_statistics_are_those_of_acting_rows_in_double_precision(tmp_path):
    columns = small_columns()
    columns.steps["robot_observation"][:, 2] = 4.0
    mean, std = moments(store_of(tmp_path, columns))
    acted = columns.steps["robot_observation"][columns.steps["has_action"].astype(bool)].astype(np.float64)
    np.testing.assert_allclose(mean[:3], acted.mean(0), rtol=1e-6)
    np.testing.assert_allclose(std[:3], [*acted.std(0)[:2], 1.0], rtol=1e-6)
    assert std[2] == 1.0
    assert mean[3:].tolist() == [0, 0]
    assert std[3:].tolist() == [1, 1]


def test_omiga_view_is_not_standardised_again_unless_asked(tmp_path):
    mean, std = moments(store_of(tmp_path, small_columns(), view="omiga"))
    assert mean.abs().sum() == 0
    assert (std == 1).all()
    mean, _ = moments(store_of(tmp_path, small_columns(), view="omiga", obs_norm="dataset"))
    assert mean.abs().sum() > 0


def test_the_moments_of_the_returns_weigh_a_return_by_what_was_recorded_of_it():
    columns = small_columns(lengths=LENGTHS)
    store, needs = held(columns), Needs(frozenset(("return_to_go", "return_seen")))
    store.provide(needs, 0.9)
    to_go, seen = (store.table.columns[name].double() for name in ("return_to_go", "return_seen"))
    assert seen.min() < 1.0
    mean = (seen**2 * to_go).sum() / (seen**2).sum()
    deviation = ((seen**2 * (to_go - mean) ** 2).sum() / (seen**2).sum()).sqrt()
    for found, wanted in zip(store.survey(0.9).return_moments(), (mean, deviation), strict=True):
        assert found == pytest.approx(wanted.item())
