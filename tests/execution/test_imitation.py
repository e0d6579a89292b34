"""How a policy compares with the best recorded episodes, against sums that are written out here."""

import math

import numpy as np
import pytest
import torch

from tests.datamodules.datasets import discrete_columns
from tests.support import small_columns
from vgm2p.algos.bc_gaussian import BCGaussian
from vgm2p.algos.bc_meanflow import BCMeanFlow
from vgm2p.algos.bc_mse import BCSquaredError
from vgm2p.datamodules.layout.sampling import by_return
from vgm2p.datamodules.store.transitions import TransitionStore
from vgm2p.execution.imitation import MASS, WIDTHS, best_episodes, compare
from vgm2p.groups import Net
from vgm2p.types import Acting

LENGTHS = [30, 11, 18, 25, 7, 22, 40, 13]


def held(columns):
    columns.attributes["content_sha256"] = "some data"
    return TransitionStore.hold(columns, "raw_onehot", "auto", "bootstrap")


def robots(actions=None):
    columns = small_columns(0, LENGTHS)
    columns.episodes["return"][:] = np.arange(len(LENGTHS))[::-1] * 10.0
    if actions is not None:
        acting = columns.steps["has_action"].astype(bool)
        columns.steps["actions"] = (actions(len(acting)) * acting[:, None, None]).astype(np.float32)
    return held(columns)


def still(cls, store, **options):
    """A policy of two seeds whose networks give 0."""
    policy = cls(store.spec, [0, 1], net=Net(8, 1), **options)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.zero_()
    return policy


def steps_of(store):
    """Return row and probability of every step that is looked at."""
    chosen, probability = best_episodes(store)
    start, length = (store.dataset.episodes[name][chosen] for name in ("start", "length"))
    rows = np.concatenate([np.arange(s, s + n) for s, n in zip(start, length, strict=True)])
    return rows, np.repeat(probability, length)


def test_a_policy_that_does_nothing_is_as_far_as_the_best_actions_are_large():
    store, actions = robots(), small_columns(0, LENGTHS).steps["actions"].astype(np.float64)
    rows, weight = steps_of(store)
    square = (actions[rows] ** 2).sum((1, 2))
    found = compare(still(BCSquaredError, store), store, 0)
    assert found.errors == pytest.approx([np.average(square / 2, weights=weight)] * 2, rel=1e-6)
    density = [
        np.average(-square / (2 * h**2) - 2 * math.log(h) - math.log(2 * math.pi), weights=weight) for h in WIDTHS
    ]
    assert found.likelihoods == pytest.approx([max(density)] * 2, rel=1e-6)


def test_the_best_episodes_hold_nearly_all_draws_and_no_more_than_needed():
    store = robots()
    chosen, _ = best_episodes(store)
    mass = by_return(store.dataset, 0.1).probabilities * np.array(LENGTHS)
    assert mass[chosen].sum() >= MASS * mass.sum() > mass[chosen].sum() - mass[chosen].min()


def test_less_noise_is_nearer_to_the_middle_of_the_actions():
    store = robots()
    policy = still(BCMeanFlow, store)  # velocity 0: the action is the start noise
    far, near, none = (compare(policy, store, 0, Acting(noise=noise)).errors for noise in (0.5, 0.1, 0.0))
    assert (far > near).all() and (near > none).all()
    assert none == pytest.approx(compare(still(BCSquaredError, store), store, 0).errors, rel=1e-6)


def test_agents_that_do_the_same_are_more_likely_with_the_same_noise():
    """The data: both agents do the same, +-0.6 by chance. A team with one noise does so, too."""
    rng = np.random.default_rng(3)
    store = robots(lambda count: np.repeat(0.6 * rng.choice([-1.0, 1.0], (count, 1, 1)), 2, 1))
    policy = still(BCMeanFlow, store)
    apart, together = (compare(policy, store, 0, Acting(noise=0.6, shared=shared)) for shared in (False, True))
    assert (together.likelihoods > apart.likelihoods + 0.35).all()
    assert together.errors == pytest.approx(apart.errors, rel=0.2)


def test_discrete_actions_are_counted_and_illegal_ones_never_drawn():
    columns = discrete_columns()
    legal, acting = columns.steps["legal_actions"], columns.steps["has_action"].astype(bool)
    columns.steps["actions"] = np.where(acting[:, None], legal.argmax(-1), 0).astype(np.int16)  # the first legal one
    store = held(columns)
    policy = still(BCGaussian, store)  # equal logits: the mode is the first legal action
    right = compare(policy, store, 0)
    assert right.errors == pytest.approx([0.0, 0.0]) and (right.likelihoods > -0.02).all()
    last = legal.shape[-1] - 1 - legal[..., ::-1].argmax(-1)
    columns.steps["actions"] = np.where(acting[:, None], last, 0).astype(np.int16)
    store = held(columns)
    rows, weight = steps_of(store)
    other = (legal[rows].argmax(-1) != last[rows]).mean(-1)
    wrong = compare(policy, store, 0)
    assert wrong.errors == pytest.approx([np.average(other, weights=weight)] * 2)
    assert (wrong.likelihoods < right.likelihoods - 0.5).all()
