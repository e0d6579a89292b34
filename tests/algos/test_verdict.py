"""How a verdict on actions weighs the probabilities of a discrete policy, and in which unit."""

import pytest
import torch

from tests.algos import reference as ref
from tests.algos.cases import F64, SPECS, close, make, table
from tests.support import random_batch
from vgm2p.algos.bc_meanflow import BCMeanFlow
from vgm2p.algos.mac_flow import MACFlow
from vgm2p.algos.verdict import against_expectation
from vgm2p.algos.vgm2p import VGM2P
from vgm2p.algos.vgm2p_fm import VGM2PFlowMatching
from vgm2p.algos.vgm2p_realised import VGM2PRealised
from vgm2p.algos.vgm2p_switches import VGM2PSwitches
from vgm2p.errors import ConfigError
from vgm2p.rng import ActKey, UpdateKey
from vgm2p.types import Acting, Seen

DISCRETE = SPECS["discrete"]
JUDGING = (VGM2P, VGM2PFlowMatching, VGM2PSwitches, VGM2PRealised)
ZERO, ONE = torch.zeros(1, dtype=F64), torch.ones(1, dtype=F64)


def trained(cls, **options):
    algorithm = make(cls, "discrete", predict="x", **options)
    with torch.no_grad():
        for p in algorithm.parameters():
            p.mul_(2.0)  # so that actions differ
    return algorithm


def verdicts(algorithm, batch):
    every = torch.eye(4, dtype=F64).expand(1, 8, 3, 4, 4)
    if isinstance(algorithm, VGM2PRealised):
        net = algorithm.judge.effect.mlp
        rows = [ref.plain_mlp(net, ref.encode(algorithm, batch.obs[0, b, i], i), 0, 0) for b, i in ref.rows(batch)]
        return torch.stack(rows).reshape(8, 3, 4)
    q = [table(algorithm, algorithm.critic, batch.obs, every[..., a, :]).mean(0) for a in range(4)]
    return torch.stack(q, -1)


@pytest.mark.parametrize("beta", [0.5, 3.0, 1e4])
@pytest.mark.parametrize("cls", JUDGING)
def test_the_action_is_the_most_likely_one_of_the_weighed_probabilities(cls, beta):
    """By loops: the largest log pi + beta A / spread of a legal action."""
    algorithm, batch = trained(cls), random_batch(DISCRETE, dtype=F64)
    algorithm.spread.fill_(0.7)
    seen, ways = Seen(batch.obs, batch.legal), (Acting(noise=0.0), Acting(noise=0.0, beta=beta, steps=3))
    with torch.inference_mode():
        plain, found = (algorithm.act(seen, None, ActKey([0], 0, range(8)), way)[0] for way in ways)
    every, times = verdicts(algorithm, batch), [ONE] if cls is VGM2PFlowMatching else [ZERO, ONE]
    for b, i in ref.rows(batch):
        tail = [ref.encode(algorithm, batch.obs[0, b, i], i), ref.one_hot(1, algorithm.classes, F64)]
        logits = ref.plain_mlp(algorithm.policy.mlp, torch.cat([torch.zeros(4, dtype=F64), *times, *tail])).detach()
        legal = batch.legal[0, b, i]
        scores = [float(logits[a] + beta * every[b, i, a].detach() / 0.7) if legal[a] else -1e300 for a in range(4)]
        assert found[0, b, i] == max(range(4), key=scores.__getitem__)
    assert not torch.equal(plain, found)


def test_samples_follow_the_weighed_probabilities():
    algorithm, batch = trained(VGM2P), random_batch(DISCRETE, rows=1, dtype=F64)
    seen = Seen(batch.obs.expand(1, 6000, 3, 5), torch.ones(1, 6000, 3, 4, dtype=torch.bool))
    acting = Acting(noise=0.0, sample=True, beta=2.0)
    with torch.inference_mode():
        action = algorithm.act(seen, None, UpdateKey([0]), acting)[0]
        o = algorithm.encode(batch.obs)
        p = algorithm.sample(torch.zeros(1, 1, 3, 4, dtype=F64), o, 1) * torch.exp(2.0 * algorithm.rate_all(o))
    shares = torch.nn.functional.one_hot(action, 4).to(F64).mean(1)
    torch.testing.assert_close(shares, (p / p.sum(-1, keepdim=True))[:, 0], rtol=0, atol=0.03)


@pytest.mark.parametrize("cls", JUDGING)
def test_the_unit_of_a_verdict_is_the_running_deviation_of_the_advantage(cls):
    algorithm, key, wanted = make(cls, "discrete", predict="x"), UpdateKey([0]), 0.0
    for update in range(3):
        batch = random_batch(DISCRETE, source=update, dtype=F64, needs=algorithm.needs)
        wanted += algorithm.step(batch, key.at(update))["adv_std"].item() / 3
    close(algorithm.spread, wanted)
    assert wanted > 0.0
    assert make(cls, "continuous").spread is None


@pytest.mark.parametrize(
    ("cls", "kind", "options"),
    [
        (BCMeanFlow, "discrete", {"predict": "x"}),
        (MACFlow, "discrete", {}),
        (VGM2P, "discrete", {"predict": "v"}),
        (VGM2P, "continuous", {"predict": "x"}),
    ],
)
def test_without_verdict_or_probabilities_it_is_refused(cls, kind, options):
    with pytest.raises(ConfigError, match=r"acting\.beta needs"):
        make(cls, kind, acting=Acting(beta=1.0), **options)


def test_it_is_either_all_actions_or_the_best_of_some():
    with pytest.raises(ConfigError, match=r"acting\.beta weighs all"):
        make(VGM2PSwitches, "discrete", predict="x", acting=Acting(beta=1.0, best_of=4))


def test_it_takes_the_most_likely_action_without_noise():
    """So curves and a deployed policy act as the column `judged` of a table."""
    assert make(VGM2P, "discrete", predict="x", acting=Acting(beta=1.0)).acting == Acting(noise=0.0, beta=1.0)
    with pytest.raises(ConfigError, match=r"set .*algo\.acting\.sample=false"):
        make(VGM2P, "discrete", predict="x", acting=Acting(beta=1.0, sample=True))


@pytest.mark.parametrize("level", [0.0, 15.0, 100.0])
def test_an_expectation_keeps_signs_of_small_advantages_whatever_the_level_of_q(level):
    q = level + torch.linspace(1.0, 0.0, 10).expand(1, 2000, 10)  # the stored action, 0, is the best one
    logits = torch.randn(1, 2000, 10, generator=torch.Generator().manual_seed(0))
    logits[..., 0] += 14.0
    stored = torch.eye(10)[0].expand_as(q)
    adv, value = against_expectation(q, stored, torch.softmax(logits, -1))
    assert (adv > 0).all() and value.mean() == pytest.approx(level + 1.0, abs=1e-3)
    adv, _ = against_expectation(torch.full_like(q, level), stored, torch.softmax(logits, -1))
    assert (adv == 0).all()


def test_the_unit_of_a_verdict_is_that_of_single_agents_also_where_the_team_has_one_condition():
    """For independent advantages of N agents, the deviation of their mean is smaller by sqrt(N)."""
    units = {}
    for advantage in ("agent", "team"):
        algorithm = make(VGM2P, "discrete", predict="x", advantage=advantage)
        algorithm.update(random_batch(DISCRETE, dtype=F64), UpdateKey([0]).at(0))
        units[advantage] = float(algorithm.spread)
    assert units["team"] == units["agent"] > 0
