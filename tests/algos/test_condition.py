"""Which actions count as better, against the slow reference: advantages, baselines, thresholds, judges."""

import copy

import pytest
import torch

from tests.algos import reference as ref
from tests.algos.cases import F64, SPECS, close, make, table
from tests.support import random_batch
from vgm2p.algos.diagnostics import agreement, deviation
from vgm2p.algos.parts import CriticSettings, unit
from vgm2p.algos.vgm2p import VGM2P
from vgm2p.algos.vgm2p_fm import VGM2PFlowMatching
from vgm2p.algos.vgm2p_switches import VGM2PSwitches
from vgm2p.errors import ConfigError
from vgm2p.rng import UpdateKey
from vgm2p.types import Acting

CONDITIONS = [{}, {"advantage": "team"}, {"threshold": "value"}, {"baseline_samples": 3}, {"baseline": "expectile"}]


@pytest.mark.parametrize("options", CONDITIONS, ids=str)
def test_condition(options):
    cls = VGM2PSwitches if "baseline" in options else VGM2P
    algorithm, batch = make(cls, "continuous", **options), random_batch(SPECS["continuous"], dtype=F64)
    oid = algorithm.encode(batch.obs)
    _, baselines = algorithm.imagine(batch, oid, algorithm.encode(batch.next_obs), UpdateKey([0]))
    c, info = algorithm.condition(batch, oid, batch.action, baselines, algorithm.critic(oid, batch.action))
    q = table(algorithm, algorithm.critic, batch.obs, batch.action).mean(0)
    if "baseline" in options:
        value = algorithm.value(oid)[0]
    else:
        samples = [
            table(algorithm, algorithm.critic, batch.obs, baselines[:, :, j]).mean(0) for j in range(baselines.shape[2])
        ]
        value = sum(samples) / len(samples)
    advantage = q - value
    if options.get("advantage") == "team":
        advantage, value = (x.sum(-1, keepdim=True).expand_as(q) for x in (advantage, value))
    threshold = value if "threshold" in options else torch.zeros_like(value)
    assert torch.equal(c[0], (advantage >= threshold).long())
    close(info["c1_fraction"].double(), c.double().mean())


def test_ties_count_as_better():
    """A = 0 must give c = 1 (spec 4.6): a dead agent's only action is its own baseline."""
    algorithm, batch = make(VGM2P, "discrete"), random_batch(SPECS["discrete"], dtype=F64)
    oid, action = algorithm.encode(batch.obs), algorithm.represent(batch.action)
    c, _ = algorithm.condition(batch, oid, action, action.unsqueeze(2), algorithm.critic(oid, action))
    assert c.all()


def test_a_known_q_gives_the_same_condition():
    batch = random_batch(SPECS["continuous"], dtype=F64)
    found = []
    for reuse in (False, True):
        algorithm = make(VGM2PSwitches, "continuous", baseline_samples=3, reuse_q=reuse)
        oid = algorithm.encode(batch.obs)
        _, baselines = algorithm.imagine(batch, oid, oid, UpdateKey([0]))
        found.append(algorithm.condition(batch, oid, batch.action, baselines, algorithm.critic(oid, batch.action)))
    (c, info), (again, same) = found
    assert torch.equal(c, again)
    torch.testing.assert_close(info["adv_mean"], same["adv_mean"])


def test_reuse_q_judges_before_the_critic_learns():
    spec, key = SPECS["continuous"], UpdateKey([0])
    batch = random_batch(spec, dtype=F64)
    fresh, reused = (make(VGM2PSwitches, "continuous", reuse_q=reuse) for reuse in (False, True))
    before = copy.deepcopy(reused.critic)
    infos = [algorithm.update(batch, key.at(0)) for algorithm in (fresh, reused)]
    assert infos[0]["adv_mean"] != infos[1]["adv_mean"]
    oid = reused.encode(batch.obs)
    reused.critic = before
    untrained = make(VGM2P, "continuous")
    _, baselines = untrained.imagine(batch, oid, reused.encode(batch.next_obs), key.at(0))
    # Q(o, a) is the untrained critic's, Q(o, a^) that of the trained one
    expected = before(oid, batch.action).mean(1) - fresh.critic(oid.unsqueeze(2), baselines).mean(1).mean(2)
    torch.testing.assert_close(infos[1]["adv_mean"], expected.mean().reshape(1))


@pytest.mark.parametrize("judge", ["return", "both"])
def test_vgm2p_chosen_can_judge_by_the_recorded_return(judge):
    algorithm = make(VGM2PSwitches, "continuous", judge=judge, best_share=1.0, margin=0.0, advantage="team", gamma=0.9)
    batch = random_batch(SPECS["continuous"], dtype=F64)
    batch.return_to_go = torch.linspace(-30, 30, 8, dtype=F64)[None]
    oid, action = algorithm.encode(batch.obs), algorithm.represent(batch.action)
    _, baselines = algorithm.imagine(batch, oid, oid, UpdateKey([0]))
    plain = algorithm.advantage(oid, action, baselines, algorithm.critic(oid, action))[0].mean(-1)[0]
    paid, loss = [], 0.0
    for b in range(8):
        errors = [0.1 * batch.return_to_go[0, b] - ref.plain_mlp(algorithm.usual.mlp, oid[0, b, i]) for i in range(3)]
        paid.append(sum(errors).detach() / 3)
        loss += sum(abs(0.7 - float(error < 0)) * error**2 for error in errors) / 24
    held = [p.detach().clone() for p in algorithm.usual.parameters()]
    wanted = torch.autograd.grad(loss.sum(), list(algorithm.usual.parameters()))
    q = algorithm.critic(oid, action)
    c, _ = algorithm.condition(batch, oid, action, baselines, q)
    for before, now, gradient in zip(held, algorithm.usual.parameters(), wanted, strict=True):
        torch.testing.assert_close(now, before - 3e-4 * gradient / (gradient.abs() + 1e-8), rtol=0, atol=1e-9)
    paid = torch.stack(paid)
    side = plain / plain.repeat_interleave(3).std() if judge == "both" else 0.0
    scale = paid.repeat_interleave(3).std() if judge == "both" else 1.0
    assert c[0].tolist() == [[int(x >= 0)] * 3 for x in side + paid.reshape(8) / scale]
    assert 0 < c.sum() < c.numel()


@pytest.mark.parametrize(("share", "good"), [(1.0, 8), (0.5, 4), (0.3, 3), (0.01, 1)])
def test_class_1_of_vgm2p_chosen_comes_from_the_best_episodes(share, good):
    """Ranks 1/8 to 1: the episode in which the share is reached counts, so the best one always does."""
    batch = random_batch(SPECS["continuous"], dtype=F64)
    batch.episode_rank = torch.arange(1, 9)[None] / 8
    algorithm, critic = (make(VGM2PSwitches, "continuous", best_share=x, margin=0.0) for x in (share, 1.0))
    c, wanted = conditions(algorithm, batch)[0], conditions(critic, batch)[0]
    assert torch.equal(c[:, 8 - good :], wanted[:, 8 - good :])
    assert c[:, : 8 - good].sum() == 0 < wanted.sum()


@pytest.mark.parametrize("team", [False, True])
def test_vgm2p_chosen_excludes_clearly_worse_actions(team):
    batch = random_batch(SPECS["continuous"], dtype=F64)
    batch.episode_rank = torch.ones(1, 8)
    algorithm = make(VGM2PSwitches, "continuous", margin=0.5, advantage="team" if team else "agent")
    c, adv = conditions(algorithm, batch)
    assert c.tolist() == (adv >= -0.5 * adv.std()).long().tolist()
    assert 0 < (adv >= 0).sum() < c.sum() < c.numel()


def conditions(algorithm, batch):
    """Return c and the advantages that were judged (1, 8, N)."""
    oid, action = algorithm.encode(batch.obs), algorithm.represent(batch.action)
    _, baselines = algorithm.imagine(batch, oid, oid, UpdateKey([0]))
    q = algorithm.critic(oid, action)
    adv, _ = algorithm.advantage(oid, action, baselines, q)
    adv = adv.mean(-1, keepdim=True).expand_as(adv) if algorithm.team else adv
    return algorithm.condition(batch, oid, action, baselines, q)[0], adv


def test_agreement_is_the_mean_share_of_equal_pairs():
    c = torch.tensor([[[1.0, 1, 1], [1, 0, 1], [0, 0, 0]]])
    assert agreement(c).tolist() == [pytest.approx(7 / 9)]
    assert agreement(c[..., :1]).tolist() == [1.0]
    choice = torch.tensor([[[True, True, False], [True, True, True], [False, False, True]]])
    assert agreement(c, choice).tolist() == [pytest.approx((1 + 1 / 3) / 2)]
    assert agreement(c, choice & False).tolist() == [0.0]


@pytest.mark.parametrize("cls", [VGM2P, VGM2PFlowMatching, VGM2PSwitches])
@pytest.mark.parametrize("source", range(3))
def test_the_exact_baseline_is_the_expectation_over_the_legal_actions(cls, source):
    """pi is the network's softmax at k = 1 and one noise draw; here row by row."""
    algorithm = make(cls, "discrete", baseline_samples="exact", predict="x", acting=Acting(steps=3))
    batch, key = random_batch(SPECS["discrete"], source=source, dtype=F64), UpdateKey([0]).at(source)
    o, action = algorithm.encode(batch.obs), algorithm.represent(batch.action)
    next_action, baselines = algorithm.imagine(batch, o, algorithm.encode(batch.next_obs), key)
    adv, value = algorithm.advantage(o, action, baselines, algorithm.critic(o, action))
    z = key.at(source).normal("imagine", (8, 2, 3, 4)).to(F64)[0, :, 1]
    every = torch.eye(4, dtype=F64).expand(1, 8, 3, 4, 4)
    q = torch.stack([table(algorithm, algorithm.critic, batch.obs, every[..., a, :]).mean(0) for a in range(4)], -1)
    times = (
        [torch.ones(1, dtype=F64)]
        if cls is VGM2PFlowMatching
        else [torch.zeros(1, dtype=F64), torch.ones(1, dtype=F64)]
    )
    for b, i in ref.rows(batch):
        legal = batch.legal[0, b, i]
        y = ref.plain_mlp(algorithm.policy.mlp, torch.cat([z[b, i], *times, o[0, b, i], ref.one_hot(1, 2, F64)]))
        weights = [y[a].exp() if legal[a] else 0.0 for a in range(4)]
        wanted = sum(w * q[b, i, a] for a, w in enumerate(weights)) / sum(weights)
        close(value[0, b, i].detach(), wanted.detach())
        close(adv[0, b, i].detach(), (q[b, i, batch.action[0, b, i]] - wanted).detach())
    assert torch.equal(next_action.sum(-1), torch.ones(1, 8, 3, dtype=F64))  # still sampled actions, in three steps
    assert batch.next_legal[next_action.bool()].all()


def test_an_exact_baseline_needs_probabilities():
    for kind, predict in (("discrete", "v"), ("continuous", "x")):
        with pytest.raises(ConfigError, match="baseline_samples=exact needs probabilities"):
            make(VGM2P, kind, baseline_samples="exact", predict=predict)


def test_exact_expectations_have_no_sampled_actions_to_reuse():
    with pytest.raises(ConfigError, match="reuse_q"):
        make(VGM2PSwitches, "discrete", reuse_q=True, predict="x", baseline_samples="exact")


def test_layer_norm_false_leaves_no_norm_in_any_value_network():
    critic = CriticSettings(layer_norm=False)
    algorithm = make(VGM2PSwitches, "continuous", critic=critic, baseline="expectile", judge="both")
    kinds = {type(module).__name__ for module in algorithm.modules()}
    usual = {type(module).__name__ for module in make(VGM2PSwitches, "continuous", judge="both").modules()}
    assert usual - kinds == {"LayerNorm"}


def test_one_number_has_no_deviation():
    one = torch.tensor([[[3.0]], [[-2.0]]])
    assert torch.equal(unit(one), one)
    assert torch.equal(deviation(one), torch.zeros(2))
    assert torch.equal(deviation(one, torch.ones_like(one, dtype=torch.bool)), torch.zeros(2))


@pytest.mark.parametrize(("mixer", "factor"), [("mean", 1.0), ("sum", 3.0), ("literal", 1.0), ("independent", 1.0)])
def test_the_logged_level_of_q_is_that_of_what_the_reward_teaches(mixer, factor):
    algorithm, batch = make(VGM2P, "continuous", mixer=mixer), random_batch(SPECS["continuous"], dtype=F64)
    o, next_o = algorithm.encode_pair(batch)
    _, q, info = algorithm.critic_loss(batch, o, batch.action, next_o, batch.action)
    close(info["q_mean"], factor * q.mean())
