"""A judge of realised returns: its losses against slow float64 references, its stages, its diagnostics."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.algos import reference as ref
from tests.algos.cases import F64, close
from tests.support import continuous_spec, discrete_spec, random_batch
from vgm2p.algos.realised import JudgeSettings
from vgm2p.algos.vgm2p_realised import VGM2PRealised
from vgm2p.errors import ConfigError
from vgm2p.groups import Net, Optim
from vgm2p.rng import UpdateKey
from vgm2p.types import Survey

KINDS = {"continuous": continuous_spec, "discrete": discrete_spec}
TASKS = [(kind, state) for kind in KINDS for state in (None, 4)]
CASES = [(*task, source) for task in TASKS for source in range(3)]
GAMMA = 0.9


def made(kind, state, **options):
    """With statistics of returns and observations that are not 0 and 1."""
    options = {"gamma": GAMMA, "predict": "x", **options}
    algorithm = VGM2PRealised(KINDS[kind](state_dim=state), [0], net=Net(8, 2), **options).double()

    def nothing(count):
        raise AssertionError

    moments = torch.tensor(2.0), torch.tensor(5.0)
    mean, std = torch.linspace(-0.1, 0.1, 5), torch.linspace(0.5, 1.5, 5)
    algorithm.survey(Survey(mean, std, nothing, nothing, nothing, lambda: moments))
    return algorithm


def drawn(algorithm, source=0):
    return random_batch(algorithm.spec, source=source, dtype=F64)


def value_row(algorithm, obs, state):
    """V of one step, by the plain network: of the state, or of the observations of all agents one after another."""
    joint = [(each - algorithm.obs_mean) / algorithm.obs_std for each in obs]
    return 2.0 + 5.0 * ref.plain_mlp(algorithm.judge.value.mlp, torch.cat(joint) if state is None else state)[0]


def values(algorithm, batch, following=False):
    obs, state = (batch.next_obs, batch.next_state) if following else (batch.obs, batch.state)
    return [value_row(algorithm, obs[0, b], None if state is None else state[0, b]) for b in range(len(obs[0]))]


def effect_row(algorithm, batch, b, i):
    o, a, net = ref.encode(algorithm, batch.obs[0, b, i], i), batch.action[0, b, i], algorithm.judge.effect.mlp
    if algorithm.spec.discrete:
        return ref.plain_mlp(net, o, 0, 0)[int(a)]
    return ref.plain_mlp(net, torch.cat([o, a]), 0, 0)[0]


def same_gradient(loss, wanted, network):
    close(loss.detach(), wanted.detach())
    found, expected = (torch.autograd.grad(x.sum(), list(network.parameters())) for x in (loss, wanted))
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("kind", "state", "source"), CASES)
def test_the_value_predicts_what_was_recorded(kind, state, source):
    algorithm = made(kind, state)
    batch = drawn(algorithm, source)
    v, total = values(algorithm, batch), 0.0
    for b in range(8):
        seen = batch.return_seen[0, b]
        recorded = seen * batch.return_to_go[0, b]
        total = total + (recorded - seen * v[b]) ** 2 / 5.0**2 / 8
    loss, info = algorithm.judge.value_loss(algorithm, batch)
    same_gradient(loss, total, algorithm.judge.value)
    weight, target = batch.return_seen[0].numpy() ** 2, batch.return_to_go[0].numpy()
    error = target - torch.stack(v).detach().numpy()
    spread = np.average((target - np.average(target, weights=weight)) ** 2, weights=weight)
    close(info["value_explained"], 1 - np.average(error**2, weights=weight) / spread)


@pytest.mark.parametrize(("kind", "state", "source"), CASES)
def test_the_effect_is_the_regression_of_the_residual_over_its_deviation(kind, state, source):
    algorithm = made(kind, state)
    batch = drawn(algorithm, source)
    with torch.no_grad():
        now, following = values(algorithm, batch), values(algorithm, batch, following=True)
    delta = [float(batch.reward[0, b] + GAMMA * batch.bootstrap[0, b] * following[b] - now[b]) for b in range(8)]
    valid = [b for b in range(8) if batch.valid[0, b] > 0]
    deviation = np.std([delta[b] for b in valid])
    rows = [(b, i) for b, i in ref.choices(batch) if b in valid]
    effects = [effect_row(algorithm, batch, b, i) for b, i in rows]
    total = sum((a - delta[b] / deviation) ** 2 for a, (b, _) in zip(effects, rows, strict=True)) / len(rows)
    loss, effect, info = algorithm.judge.effect_loss(algorithm, batch, algorithm.encode(batch.obs))
    same_gradient(loss, total, algorithm.judge.effect)
    close(effect[0][rows[0]], effects[0].detach())
    close(info["effect_correlation"], np.corrcoef([a.item() for a in effects], [delta[b] for b, _ in rows])[0, 1])
    assert all(p.grad is None for p in algorithm.judge.value.parameters())


@pytest.mark.parametrize(("options", "samples"), [({}, None), ({"predict": "v"}, 4), ({"baseline_samples": 2}, 2)])
def test_class_1_is_at_least_as_good_as_the_policy_on_average(options, samples):
    algorithm = made("discrete", None, **options)
    batch, key = drawn(algorithm), UpdateKey([0])
    o, action = algorithm.encode(batch.obs), algorithm.represent(batch.action)
    baselines = algorithm.baselines(batch, o, key)
    c, _ = algorithm.condition(batch, o, action, baselines, algorithm.rate(o, action))
    assert baselines.shape == (1, 8, samples or 1, 3, 4)
    for b, i in ref.rows(batch):
        every = ref.plain_mlp(algorithm.judge.effect.mlp, o[0, b, i], 0, 0)
        usual = (baselines[0, b, :, i] * every).sum(-1).mean()  # probabilities, or one-hots
        assert c[0, b, i] == int(every[batch.action[0, b, i]] >= usual)
    assert torch.equal(baselines[0, :, 0].sum(-1).round(decimals=9), torch.ones(8, 3, dtype=F64))
    assert (baselines.amax(-1) == 1.0).all() == (samples is not None)
    if samples is None:  # the clone's softmax at one noise draw
        z = key.at(0).normal("imagine", (8, 1, 3, 4)).to(F64)[0, :, 0]
        for b, i in ref.rows(batch):
            tail = [torch.zeros(1, dtype=F64), torch.ones(1, dtype=F64), o[0, b, i], ref.one_hot(2, 3, F64)]
            y = ref.plain_mlp(algorithm.policy.mlp, torch.cat([z[b, i], *tail])).masked_fill(
                ~batch.legal[0, b, i], -1e9
            )
            torch.testing.assert_close(baselines[0, b, 0, i], y.softmax(-1), rtol=0, atol=1e-10)


def test_the_policy_learns_from_the_first_rows_and_the_judge_from_all():
    """And the clone's rows, whose label was dropped, are not guided."""
    batch, key = random_batch(discrete_spec(), source=1, dtype=F64), UpdateKey([0])
    changed = batch.map(torch.clone)
    changed.reward[:, 4:] += 1.0
    changed.obs[:, 4:] += 1.0
    moved = []
    for each in (batch, changed):
        algorithm = made("discrete", None, policy_rows=4, judge=JudgeSettings(value_updates=1, effect_updates=1))
        for update in range(3):
            algorithm.clock.fill_(2)  # the policy's stage: the judge is fixed
            algorithm.update(each, key.at(update))
        moved.append(torch.cat([p.detach().flatten() for p in algorithm.policy.parameters()]))
        algorithm.clock.fill_(0)
        algorithm.update(each, key.at(4))
        moved.append(torch.cat([p.detach().flatten() for p in algorithm.judge.value.parameters()]))
    assert torch.equal(moved[0], moved[2])
    assert not torch.equal(moved[1], moved[3])


def test_the_clone_is_not_guided():
    algorithm = made("discrete", None, omega=3.0)
    x, k, o = (
        torch.randn(1, 8, 3, 4, dtype=F64),
        torch.full((1, 8, 3, 1), 0.5, dtype=F64),
        torch.randn(1, 8, 3, 8, dtype=F64),
    )
    c = torch.arange(24).reshape(1, 8, 3) % 3
    guided = algorithm.guide(x, 2 * x, k, o, c, None)
    assert torch.equal(guided[c == 2], x[c == 2])
    assert (guided[c < 2] != x[c < 2]).any(-1).all()


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_without_dropped_labels_there_is_no_clone(share):
    with pytest.raises(ConfigError, match="label_dropout must lie between"):
        made("discrete", None, label_dropout=share)


def test_the_policy_learns_from_one_row_at_least():
    with pytest.raises(ConfigError, match="policy_rows must be at least 1, got 0"):
        made("discrete", None, policy_rows=0)


def test_a_cut_episode_counts_by_what_was_recorded():
    """A return of which nothing was recorded has no influence, however wild its continuation is."""
    algorithm = made("discrete", None)
    batch = drawn(algorithm)
    batch.return_seen[0, 3] = 0.0
    losses = []
    for wild in (1.0, 1e6):
        batch.return_to_go[0, 3] = wild
        losses.append(algorithm.judge.value_loss(algorithm, batch)[0])
    assert torch.equal(*losses)


@pytest.mark.parametrize(
    ("stages", "turns"),
    [
        ((2, 3), ["value"] * 2 + ["effect"] * 3 + ["policy"] * 2),
        ((2, 0), ["value"] * 2 + ["effect policy"] * 5),
        ((0, 3), ["value effect"] * 3 + ["value policy"] * 4),
        ((0, 0), ["value effect policy"] * 7),
    ],
)
def test_each_network_learns_in_its_turn(stages, turns):
    algorithm = made("discrete", None, judge=JudgeSettings(value_updates=stages[0], effect_updates=stages[1]))
    networks = {"value": algorithm.judge.value, "effect": algorithm.judge.effect, "policy": algorithm.policy}
    key = UpdateKey([0])
    for update, turn in enumerate(turns):
        before = {name: torch.cat([p.detach().flatten() for p in net.parameters()]) for name, net in networks.items()}
        algorithm.step(drawn(algorithm, update), key.at(update))
        moved = [
            name
            for name, net in networks.items()
            if not torch.equal(before[name], torch.cat([p.detach().flatten() for p in net.parameters()]))
        ]
        assert moved == turn.split(), update


def test_every_learning_rate_ends_with_its_stage_and_the_policys_with_the_run():
    judge = JudgeSettings(value_updates=2, effect_updates=3)
    algorithm = made("discrete", None, judge=judge, optim=Optim(1e-3, 9))
    assert {name: each.decay_updates for name, each in algorithm.optimisers.items()} == {
        "value": 2,
        "effect": 3,
        "policy": 4,
    }
    part = made("discrete", None, judge=JudgeSettings(value_updates=2, lr=0.5), optim=Optim(1e-3, 9)).optimisers
    assert {name: (each.decay_updates, each.param_groups[0]["lr"]) for name, each in part.items()} == {
        "value": (2, 0.5),
        "effect": (7, 0.5),
        "policy": (7, 1e-3),
    }
    assert made("discrete", None, optim=Optim(1e-3, 9)).optimisers["value"].decay_updates == 9
    assert made("discrete", None, judge=judge).optimisers["value"].decay_updates is None
    with pytest.raises(ConfigError, match="leave none for the policy"):
        made("discrete", None, judge=judge, optim=Optim(1e-3, 5))


def test_per_agent_states_have_the_mean_of_their_values():
    algorithm = made("discrete", 4)
    batch = drawn(algorithm)
    one = algorithm.judge.scaled(batch.state)
    batch.state = batch.state.unsqueeze(2).expand(-1, -1, 3, -1)
    torch.testing.assert_close(algorithm.judge.scaled(batch.state), one, rtol=0, atol=1e-12)


def test_robots_have_their_state_in_every_observation():
    """So V sees the joint observation there, which is standardised."""
    robot = replace(continuous_spec(state_dim=4), view="raw_onehot")
    for spec, wanted in ((robot, False), (continuous_spec(state_dim=4), True), (continuous_spec(), False)):
        algorithm = VGM2PRealised(spec, [0], net=Net(8, 2))
        assert ({"state", "next_state"} <= algorithm.needs.fields) == wanted
        assert algorithm.judge.value.mlp.hidden[0].weight.shape[-1] == (4 if wanted else 15)


def test_without_any_choice_the_effect_learns_nothing():
    algorithm = made("discrete", None)
    batch = drawn(algorithm)
    batch.legal = algorithm.represent(batch.action).bool()
    loss, _, info = algorithm.judge.effect_loss(algorithm, batch, algorithm.encode(batch.obs))
    assert loss == 0.0
    assert info["effect_correlation"] == 0.0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", [1, 8])
def test_one_row_with_a_target_does_not_ruin_the_judge(kind, rows):
    algorithm = made(kind, None)
    batch = random_batch(algorithm.spec, rows=rows, dtype=F64)
    batch.valid[:, 1:] = 0.0
    batch.valid[:, 0] = 1.0
    loss, _, _ = algorithm.judge.effect_loss(algorithm, batch, algorithm.encode(batch.obs))
    assert float(loss.detach()) < 1e5
