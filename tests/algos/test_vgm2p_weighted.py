"""Weighted cloning of rows drawn by return: its limits, its weights, and a judge that never sees what it judges."""

import math

import numpy as np
import pytest
import torch

from tests.algos import reference as ref
from tests.algos.cases import F64, close
from tests.support import continuous_spec, discrete_spec, random_batch
from vgm2p.algos.bc_meanflow import BCMeanFlow
from vgm2p.algos.stages import JudgeSettings
from vgm2p.algos.vgm2p_weighted import VGM2PWeighted
from vgm2p.errors import ConfigError
from vgm2p.groups import Net, Optim
from vgm2p.rng import UpdateKey
from vgm2p.types import Survey, has_choice

KINDS = {"continuous": continuous_spec, "discrete": discrete_spec}


def made(kind, cls=VGM2PWeighted, **options):
    algorithm = cls(KINDS[kind](), [0, 1], net=Net(8, 2), **{"predict": "x", **options}).double()

    def nothing(count):
        raise AssertionError

    mean, std = torch.linspace(-0.1, 0.1, 5), torch.linspace(0.5, 1.5, 5)
    algorithm.survey(Survey(mean, std, nothing, nothing, nothing, lambda: (torch.tensor(2.0), torch.tensor(5.0))))
    return algorithm


def drawn(algorithm, source=0, rows=16):
    return random_batch(algorithm.spec, seeds=2, rows=rows, source=source, dtype=F64)


def flat(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()])


@pytest.mark.parametrize("kind", KINDS)
def test_without_trust_it_is_the_clone_of_the_rows_drawn_by_return(kind):
    ours, clone, key = made(kind, trust=0.0), made(kind, BCMeanFlow), UpdateKey([0, 1])
    for update in range(3):
        batch = drawn(ours, update)
        ours.step(batch, key.at(update))
        clone.step(batch.after(8), key.at(update))
    torch.testing.assert_close(flat(ours.policy), flat(clone.policy), rtol=0, atol=1e-12)
    assert ours.needs.by_return == 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_with_an_effective_size_of_all_steps_all_weights_are_equal(kind):
    algorithm = made(kind, ess=1.0, trust=1.0)
    batch = drawn(algorithm).after(8)
    o = algorithm.encode(batch.obs)
    weight, info = algorithm.weights(batch, o, algorithm.usual(batch, o, UpdateKey([0, 1])))
    choice = has_choice(batch.legal)
    assert torch.equal(weight, torch.ones_like(weight) if choice is None else choice.to(F64))
    close(info["ess"][0], 1.0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_weights_are_those_of_the_page(kind):
    algorithm = made(kind, ess=0.2, trust=0.75)
    batch = drawn(algorithm, 1).after(8)
    o = algorithm.encode(batch.obs)
    usual = algorithm.usual(batch, o, UpdateKey([0, 1]))
    weight, info = algorithm.weights(batch, o, usual)
    rates = algorithm.judge.rate(o, algorithm.represent(batch.action)) - algorithm.judge.rate(o, usual)
    for s in range(2):
        alone = batch.map(lambda x, s=s: x[s : s + 1])
        rows = ref.choices(alone)
        adv = [rates[s, 1 - int(batch.fold[s, b]), b, i].item() for b, i in rows]
        std = np.std(adv, ddof=0 if kind == "discrete" else 1)  # with a mask, squares are divided by the number of rows
        z = (np.array(adv) - np.mean(adv)) / std
        wanted = np.exp(0.75 * math.sqrt(math.log(5.0)) * z)
        wanted /= wanted.mean()
        found = np.array([weight[s, b, i].item() for b, i in rows])
        np.testing.assert_allclose(found, wanted, rtol=1e-10)
        assert weight[s].sum() == pytest.approx(found.sum())  # rows without a choice have weight 0
        close(info["ess"][s], wanted.sum() ** 2 / (wanted**2).sum() / len(wanted))
        close(info["adv_std"][s], std)


@pytest.mark.parametrize("trust", [0.0, 0.5, 1.0])
def test_normal_advantages_have_the_effective_size_that_the_trust_allows(trust):
    """ess^(trust^2): at full trust that of the draw by return, without trust all rows."""
    algorithm = made("continuous", ess=0.3, trust=trust)
    batch = drawn(algorithm, rows=40_000)
    verdicts = torch.randn(2, 40_000, 3, generator=torch.Generator().manual_seed(0), dtype=F64)
    algorithm.judge.verdict = lambda *_: verdicts
    _, info = algorithm.weights(batch, algorithm.encode(batch.obs), batch.action)
    torch.testing.assert_close(info["ess"], torch.full((2,), 0.3 ** (trust**2), dtype=F64), rtol=0.03, atol=0)


def test_the_policys_loss_is_the_weighted_mean_and_reaches_the_policy_alone():
    algorithm, key = made("continuous"), UpdateKey([0, 1])
    batch = drawn(algorithm).after(8)
    o, ones = algorithm.encode(batch.obs), torch.ones(2, 8, 3, dtype=F64)
    plain, _ = algorithm.policy_loss(o, batch.action, ones, key.at(0))
    each = []
    for b in range(8):
        one_row = torch.zeros_like(ones)
        one_row[:, b] = 8.0
        each.append(algorithm.policy_loss(o, batch.action, one_row, key.at(0))[0])
    torch.testing.assert_close(torch.stack(each).mean(0), plain, rtol=0, atol=1e-12)
    plain.sum().backward()
    assert all(p.grad is None for p in algorithm.judge.parameters())
    assert all(p.grad is not None for p in algorithm.policy.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_no_verdict_comes_from_networks_that_learnt_from_the_episode(kind):
    """Whatever happens in the episodes of one half, the verdicts on them stay the same, and those on the others move."""
    verdicts = []
    for changed in (False, True):
        algorithm, key = made(kind), UpdateKey([0, 1])
        for update in range(3):
            batch = drawn(algorithm, update)
            if changed:
                batch.reward += 3.0 * batch.fold
                batch.return_to_go += 30.0 * batch.fold
            algorithm.step(batch, key.at(update))
        probe = drawn(algorithm, 9)
        rates = algorithm.judge.rate(algorithm.encode(probe.obs), algorithm.represent(probe.action))
        verdicts.append((algorithm.judge.unseen(rates, probe), probe.fold == 1))
    (before, second), (after, _) = verdicts
    assert torch.equal(before[second], after[second])
    assert (before[~second] != after[~second]).all()


@pytest.mark.parametrize(("kind", "predict"), [("continuous", "x"), ("discrete", "x"), ("discrete", "v")])
def test_usual_is_an_action_of_the_policy_or_its_probabilities(kind, predict):
    algorithm = made(kind, predict=predict)
    batch = drawn(algorithm, 2)
    o = algorithm.encode(batch.obs)
    usual = algorithm.usual(batch, o, UpdateKey([0, 1]))
    assert usual.shape == algorithm.represent(batch.action).shape
    if kind == "continuous":
        assert usual.abs().max() <= 1.0
        return
    assert torch.allclose(usual.sum(-1), torch.ones(2, 16, 3, dtype=F64))
    assert (usual[~batch.legal] == 0.0).all()
    assert (usual.amax(-1) == 1.0).all() == (predict == "v")


def test_what_depends_on_the_observation_alone_changes_no_weight():
    """The advantage of an action is what it adds to the policy's own action."""
    algorithm = made("continuous", trust=1.0)
    batch = drawn(algorithm).after(8)
    o = algorithm.encode(batch.obs)
    usual = algorithm.usual(batch, o, UpdateKey([0, 1]))
    before, _ = algorithm.weights(batch, o, usual)
    rate = algorithm.judge.rate
    algorithm.judge.rate = lambda o, action: rate(o, action) + 3.0 * o[..., 0].unsqueeze(1)
    after, _ = algorithm.weights(batch, o, usual)
    torch.testing.assert_close(before, after, rtol=0, atol=1e-9)


def test_trust_is_the_running_correlation_and_never_negative():
    algorithm = made("continuous")
    for update, value in enumerate([0.4, 0.8, -0.9]):
        algorithm.clock.fill_(update)
        algorithm.measure(torch.tensor([value, 0.5]))
    torch.testing.assert_close(algorithm.trust, torch.tensor([0.4, 0.5], dtype=F64), rtol=0, atol=1e-6)
    fixed = made("continuous", trust=0.25)
    fixed.measure(torch.tensor([0.9, 0.9]))
    assert torch.equal(fixed.trust, torch.full((2,), 0.25, dtype=F64))


def test_trust_tells_actions_that_matter_from_actions_that_do_not():
    """The reward is the first component of each agent's action, or it has nothing to do with the actions."""
    found = []
    for matters in (True, False):
        algorithm = made("continuous", optim=Optim(1e-2), gamma=0.0)
        key = UpdateKey([0, 1])
        for update in range(300):
            batch = drawn(algorithm, update, rows=64)
            own = batch.action[..., 0].mean(-1)
            batch.reward = own if matters else own.flip(1)
            batch.return_to_go, batch.return_seen = batch.reward, torch.ones_like(batch.reward)
            algorithm.step(batch, key.at(update))
        found.append(algorithm.trust.min().item() if matters else algorithm.trust.max().item())
    assert found[0] > 0.3  # each agent sees a third of what happens: at most 1 / sqrt(3)
    assert found[1] < 0.1


def test_the_policy_waits_for_the_stages_of_the_judge():
    algorithm, key = made("continuous", judge=JudgeSettings(value_updates=1, effect_updates=1)), UpdateKey([0, 1])
    start = flat(algorithm.policy)
    for update in range(3):
        assert torch.equal(start, flat(algorithm.policy)) == (update < 3)
        algorithm.step(drawn(algorithm, update), key.at(update))
    assert not torch.equal(start, flat(algorithm.policy))


@pytest.mark.parametrize(
    ("options", "words"), [({"ess": 0.0}, "ess"), ({"ess": 1.1}, "ess"), ({"trust": 1.5}, "trust")]
)
def test_shares_out_of_range_are_refused(options, words):
    with pytest.raises(ConfigError, match=f"algo.{words} must"):
        made("continuous", **options)
