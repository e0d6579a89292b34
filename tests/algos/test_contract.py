"""The contract of all algorithms. The algorithms are found in `conf/algo`, so a new yaml file is tested without a new test.

A folder `conf` in the working folder is searched, too. CONTRACT_ALGOS=a,b tests only these algorithms.
"""

import copy
import os
import random
import re

import numpy as np
import pytest
import torch

from tests.support import continuous_spec, discrete_spec, random_batch
from vgm2p.config.build import algorithm_class, build_algorithm
from vgm2p.config.compose import composed, config_folders
from vgm2p.rng import ActKey, UpdateKey
from vgm2p.types import Seen

NAMES = sorted({path.stem for folder in config_folders() for path in (folder / "algo").glob("*.yaml")})
if "CONTRACT_ALGOS" in os.environ:
    NAMES = os.environ["CONTRACT_ALGOS"].split(",")
SPECS = {"continuous": continuous_spec, "discrete": discrete_spec}
HISTORY = 3  # what tests/support.py puts into a batch
SIZE = ["net.width=16", "net.depth=2", "evaluate=none"]
VARIANTS = {  # further settings that have code of their own
    ("vgm2p_chosen", "continuous"): "judge=both",
    ("vgm2p_chosen", "discrete"): "judge=both",
    ("bc_diffusion", "continuous"): "sampler=ddpm",
    ("bc_mse", "continuous"): "output=tanh",
    ("ma_cql", "discrete"): "mixer=qmix",
    ("ma_icq", "continuous"): "target_weight=softmax",
    ("mac_flow", "discrete"): "value_gradient=expected predict=x",
    ("mac_flow", "continuous"): "predict=x",
    ("bc_flow", "continuous"): "predict=x",  # with discrete actions, it is the default
    ("bc_meanflow", "continuous"): "predict=x",
    ("vgm2p_fm", "continuous"): "predict=x",
    ("vgm2p_fm", "discrete"): "predict=v",
    ("vgm2p", "discrete"): "baseline_samples=exact",
    ("vgm2p_realised", "discrete"): "judge.value_updates=1 judge.effect_updates=1",
}


def node_of(words, **changes):
    """`words`: an algorithm, then its overrides: `vgm2p history=3`."""
    name, *overrides = words.split()
    groups = ("net.", "optim.")
    chosen = [f"algo={name}", *(word if word.startswith(groups) else f"algo.{word}" for word in overrides)]
    algo = composed("fit", ["experiment=recorded_3hopper_medium", *SIZE, *chosen])["algo"]
    if "levels" in algo["net"]:  # a planner's noise model has a size of its own
        algo |= {"history": 5, "horizon": 4, "net": {"width": 8, "levels": [1, 2], "kernel": 3}}
    acting = algo.get("acting")
    if acting is not None:  # as many steps as show that there are several
        acting["steps"] = min(acting["steps"], 3)
    for part in ("cql", "search"):  # as many candidates
        if part in algo:
            algo[part]["samples"] = min(algo[part]["samples"], 6)
    return {**algo, **changes}


INERT = re.compile(r"meet\.\d+\.project\.1\.bias$")  # moves all keys of an attention together: softmax ignores it
# planners share one class: by default, each kind of actions is tested with one of them
SLOW = {("madiff_c", "discrete"), ("madiff_d", "continuous"), ("dof", "continuous"), ("dof", "discrete")}
REMEMBERING = ("bc_gaussian", "vgm2p")  # those whose memory the default suite checks; `make test-slow` checks all


def history_marks(name):
    quick = name in REMEMBERING or "CONTRACT_ALGOS" in os.environ
    return () if quick else pytest.mark.slow


def pairs():
    for name in NAMES:
        node = node_of(name)
        cls = algorithm_class(node)
        for kind, make_spec in SPECS.items():
            if not getattr(cls, f"supports_{kind}"):
                continue
            spec = make_spec(state_dim=4 if cls.needs_state else None)
            marks = pytest.mark.slow if (name, kind) in SLOW and "CONTRACT_ALGOS" not in os.environ else ()
            yield pytest.param(name, spec, id=f"{name}-{kind}", marks=marks)
            if not build_algorithm(node, spec, [0]).needs.ahead:
                words = f"{name} history={HISTORY}"
                yield pytest.param(words, spec, id=f"{name}-{kind}-history", marks=history_marks(name))
            if variant := VARIANTS.get((name, kind)):
                yield pytest.param(f"{name} {variant}", spec, id=f"{name}-{kind}-{variant.partition('=')[2]}")


PAIRS = list(pairs())


def build(name, spec, seeds=1, **changes):
    return build_algorithm(node_of(name, **changes), spec, range(seeds))


def train(algorithm, spec, updates, seeds=1, dtype=torch.float32, first=0):
    key = UpdateKey(algorithm.seeds)
    for update in range(first, first + updates):
        batch = random_batch(spec, 3, source=update, dtype=dtype, needs=algorithm.needs)
        batch = batch.map(lambda tensor: tensor[:seeds])
        info = algorithm.step(batch, key.at(update))
    return info


@pytest.mark.parametrize(("name", "spec"), PAIRS)
def test_update_changes_every_parameter_and_reports_per_seed(name, spec):
    algorithm = build(name, spec, seeds=2)
    before = copy.deepcopy(algorithm.state_dict())
    info = train(algorithm, spec, 3, seeds=2)
    assert algorithm.fits in info
    assert int(algorithm.clock) == 3
    assert all(value.shape == (2,) and not value.requires_grad for value in info.values())
    assert all(torch.isfinite(value).all() for value in info.values())
    unchanged = [
        key for key, value in algorithm.named_parameters() if torch.equal(value, before[key]) and value.abs().sum() > 0
    ]
    assert not [key for key in unchanged if not INERT.search(key)]


@pytest.mark.parametrize(("name", "spec"), PAIRS)
def test_act_gives_legal_actions_of_the_right_shape(name, spec):
    algorithm = build(name, spec, seeds=2)
    batch = random_batch(spec, 2, rows=6)
    with torch.inference_mode():
        action, _ = algorithm.act(Seen(batch.obs, batch.legal), None, ActKey([0, 1], 0, range(6)))
    if spec.discrete:
        assert action.shape == (2, 6, spec.n_agents)
        assert batch.legal.gather(-1, action.unsqueeze(-1)).all()
    else:
        assert action.shape == (2, 6, spec.n_agents, spec.action_dim)
        assert (action.abs() <= 1).all()


@pytest.mark.parametrize(("name", "spec"), PAIRS)
def test_an_agents_action_depends_on_its_own_observation_only_where_it_is_decentralised(name, spec):
    algorithm = build(name, spec)
    train(algorithm, spec, 2)
    batch = random_batch(spec, rows=6)
    changed = batch.obs.clone()
    changed[:, :, 1:] += 1.7
    legal = batch.legal
    if legal is not None:
        legal = torch.ones_like(legal)
    with torch.inference_mode():
        first, _ = algorithm.act(Seen(batch.obs, legal), None, ActKey([0], 0, range(6)))
        second, _ = algorithm.act(Seen(changed, legal), None, ActKey([0], 0, range(6)))
    if algorithm.decentralised:
        assert torch.equal(first[:, :, 0], second[:, :, 0])
    elif not spec.discrete:
        assert not torch.equal(first[:, :, 0], second[:, :, 0])
    if not spec.discrete:
        assert not torch.equal(first[:, :, 1:], second[:, :, 1:])


@pytest.mark.parametrize(("name", "spec"), PAIRS)
def test_state_round_trip_continues_bit_for_bit(name, spec):
    whole, first = build(name, spec), build(name, spec)
    train(whole, spec, 8)
    train(first, spec, 5)
    second = build(name, spec)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for key, optimiser in second.optimisers.items():
        optimiser.load_state_dict(copy.deepcopy(first.optimisers[key].state_dict()))
    train(second, spec, 3, first=5)
    for key, value in whole.state_dict().items():
        assert torch.equal(value, second.state_dict()[key]), key


@pytest.mark.parametrize("updates", [8, pytest.param(50, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("name", "spec"), PAIRS)
def test_three_seeds_at_once_equal_three_single_runs(name, spec, updates):
    """float64, 1e-10; batches and noise per seed."""
    joint = build(name, spec, seeds=3).double()
    key = UpdateKey([0, 1, 2])
    singles = [build_algorithm(node_of(name), spec, [s]).double() for s in range(3)]
    keys = [UpdateKey([s]) for s in range(3)]
    for update in range(updates):
        batch = random_batch(spec, 3, rows=4, source=update, dtype=torch.float64, needs=joint.needs)
        joint.step(batch, key.at(update))
        for s, single in enumerate(singles):
            single.step(batch.seed(s), keys[s].at(update))
    for s, single in enumerate(singles):
        alone = dict(single.named_parameters())
        for label, value in joint.named_parameters():
            torch.testing.assert_close(value[s], alone[label][0], rtol=0, atol=1e-10, msg=f"{label} seed {s}")


@pytest.mark.parametrize(("name", "spec"), PAIRS)
def test_global_generators_do_not_matter(name, spec):
    calm, shaken = build(name, spec), build(name, spec)
    train(calm, spec, 3)
    for update in range(3):
        torch.manual_seed(update * 17)
        np.random.seed(update)
        random.seed(update)
        train(shaken, spec, 1, first=update)
    for label, value in calm.state_dict().items():
        assert torch.equal(value, shaken.state_dict()[label]), label


@pytest.mark.parametrize(("name", "spec"), PAIRS)
def test_a_seed_with_nan_is_frozen_and_the_others_go_on(name, spec):
    clean, hurt = build(name, spec, seeds=2), build(name, spec, seeds=2)
    train(clean, spec, 2, seeds=2)
    train(hurt, spec, 2, seeds=2)
    frozen = {label: value[0].clone() for label, value in hurt.named_parameters() if value.requires_grad}
    key = UpdateKey([0, 1])
    for update in range(2, 5):
        batch = random_batch(spec, 2, source=update, needs=clean.needs)
        clean.step(batch, key.at(update))
        broken = batch.map(torch.clone)
        for field in ("obs", "window_obs"):
            if getattr(broken, field) is not None:
                getattr(broken, field)[0] = torch.nan
        hurt.step(broken, key.at(update))
    assert hurt.alive.tolist() == [False, True]
    for label, value in hurt.named_parameters():
        assert label not in frozen or torch.equal(value[0], frozen[label]), label
        assert torch.equal(value[1], dict(clean.named_parameters())[label][1]), label


@pytest.mark.parametrize(("name", "spec"), PAIRS)
def test_loss_falls_on_data_it_can_fit(name, spec):
    algorithm = build(f"{name} optim.lr=2e-3", spec)
    losses = []
    key, batch = UpdateKey([0]), random_batch(spec, rows=32, needs=algorithm.needs)
    for update in range(80):
        losses.append(float(algorithm.step(batch, key.at(update))[algorithm.fits]))
    assert np.mean(losses[-20:]) < 0.97 * np.mean(losses[:20])


@pytest.mark.parametrize(("name", "spec"), PAIRS)
def test_bf16_autocast_stays_near_float32(name, spec):
    plain, mixed = build(name, spec), build(name, spec)
    batch = random_batch(spec, rows=128, needs=plain.needs)  # so many that one condition may flip
    key = UpdateKey([0])
    exact = plain.step(batch, key.at(0))
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        rough = mixed.step(batch, key.at(0))
    for label in exact:
        if label.endswith("_loss"):
            torch.testing.assert_close(exact[label], rough[label], rtol=3e-2, atol=1e-3)
    assert all(value.dtype == torch.float32 for value in mixed.parameters())
