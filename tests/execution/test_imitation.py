"""How far a policy is from the best recorded episodes, against sums that are written out here."""

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
from vgm2p.execution.imitation import MASS, best_episodes, errors
from vgm2p.groups import Net
from vgm2p.types import Acting

LENGTHS = [30, 11, 18, 25, 7, 22, 40, 13]


def held(columns):
    columns.attributes["content_sha256"] = "some data"
    return TransitionStore.hold(columns, "raw_onehot", "auto", "bootstrap")


def robots():
    columns = small_columns(0, LENGTHS)
    columns.episodes["return"][:] = np.arange(len(LENGTHS))[::-1] * 10.0
    return held(columns)


def still(cls, store, **options):
    """A policy of two seeds whose networks give 0."""
    policy = cls(store.spec, [0, 1], net=Net(8, 1), **options)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.zero_()
    return policy


def test_a_policy_that_does_nothing_is_as_far_as_the_best_actions_are_large():
    store, actions = robots(), small_columns(0, LENGTHS).steps["actions"].astype(np.float64)
    chosen, probability = best_episodes(store)
    total, sums = 0.0, 0.0
    for episode, p in zip(chosen, probability, strict=True):
        start, length = (int(store.dataset.episodes[name][episode]) for name in ("start", "length"))
        for row in range(start, start + length):
            total += p * float(np.mean(actions[row] ** 2))
            sums += p
    assert errors(still(BCSquaredError, store), store, 2, 0) == pytest.approx([total / sums] * 2, rel=1e-6)


def test_the_best_episodes_hold_nearly_all_draws_and_no_more_than_needed():
    store = robots()
    chosen, _ = best_episodes(store)
    mass = by_return(store.dataset, 0.1).probabilities * np.array(LENGTHS)
    assert mass[chosen].sum() >= MASS * mass.sum() > mass[chosen].sum() - mass[chosen].min()


def test_less_noise_is_nearer_to_the_middle_of_the_actions():
    """The clean action of a network of zeros plus noise is further away, the more noise there is."""
    store = robots()
    policy = still(BCMeanFlow, store)  # velocity 0: the action is the start noise
    far, near, none = (errors(policy, store, 8, 0, Acting(noise=noise)) for noise in (0.5, 0.1, 0.0))
    assert (far > near).all() and (near > none).all()
    assert none == pytest.approx(errors(still(BCSquaredError, store), store, 1, 0), rel=1e-6)


def test_discrete_actions_are_counted_and_illegal_ones_never_drawn():
    columns = discrete_columns()
    legal, acting = columns.steps["legal_actions"], columns.steps["has_action"].astype(bool)
    columns.steps["actions"] = np.where(acting[:, None], legal.argmax(-1), 0).astype(np.int16)  # the first legal one
    store = held(columns)
    policy = still(BCGaussian, store)  # equal logits: the mode is the first legal action
    assert errors(policy, store, 2, 0) == pytest.approx([0.0, 0.0])
    last = legal.shape[-1] - 1 - legal[..., ::-1].argmax(-1)
    columns.steps["actions"] = np.where(acting[:, None], last, 0).astype(np.int16)
    store = held(columns)
    chosen, probability = best_episodes(store)
    start, length = (store.dataset.episodes[name][chosen] for name in ("start", "length"))
    rows = np.concatenate([np.arange(s, s + n) for s, n in zip(start, length, strict=True)])
    weight = np.repeat(probability, length)
    other = (legal[rows].argmax(-1) != last[rows]).mean(-1)
    assert errors(policy, store, 2, 0) == pytest.approx([np.average(other, weights=weight)] * 2)
