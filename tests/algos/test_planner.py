"""Planners: losses against loops in float64, what a plan knows, acting, and the return that is left."""

import math

import pytest
import torch

from tests.algos.cases import F64, SPECS
from tests.datamodules.datasets import without_finals
from tests.datamodules.equivalence import both
from tests.nn.plain_unet import plain_unet
from tests.support import continuous_spec, random_batch, small_columns
from vgm2p.algos.goal import Goal, GoalSettings
from vgm2p.algos.planner import Planner
from vgm2p.algos.windows import given
from vgm2p.datamodules.store.transitions import TransitionStore
from vgm2p.errors import ConfigError
from vgm2p.flows.diffusion import Sampler
from vgm2p.nn.mlp import Net
from vgm2p.nn.unet import Numbers, UNetSize
from vgm2p.rng import ActKey, UpdateKey
from vgm2p.types import Acting, Seen, Survey

METHODS = {
    "madiff_c": {"attention": True, "visible": "all"},
    "madiff_d": {"attention": True, "visible": "one"},
    "dof": {"attention": False, "visible": "all", "weighted": True},
}
CASES = [(method, kind) for method in METHODS for kind in SPECS]
NOW, L = 4, 8
TINY = {"net": UNetSize(8, [1, 2], 3), "inverse": Net(6, 1, "relu"), "history": NOW + 1, "horizon": L - NOW}
G = torch.Generator().manual_seed(2)
DATA = torch.rand(9, generator=G).sort().values * 4 - 2  # quantiles of every feature; those of feature 1 are all equal


def survey(discrete, scale=4.0):
    knots = torch.stack([DATA + 0.1 * d for d in range(5)])
    knots[1] = 0.25

    def quantiles(table):
        return lambda count: torch.nn.functional.interpolate(table[None], count, mode="linear", align_corners=True)[0]

    actions = None if discrete else quantiles(torch.stack([DATA / 3, DATA / 2]))
    return Survey(
        torch.zeros(5), torch.ones(5), quantiles(knots), actions, lambda share: torch.tensor(scale * share / 0.99)
    )


def made(method, kind, seeds=(0,), **options):
    planner = Planner(SPECS[kind], list(seeds), **{**METHODS[method], **TINY, **options})
    planner.survey(survey(kind == "discrete"))
    for module in planner.modules():
        if isinstance(module, Numbers):  # let the agents meet, and give their noise different weights
            module.value.data += torch.arange(module.value.numel() / len(seeds)) + 0.7
    return planner.double()


def example(method, kind, source=0, **options):
    planner = made(method, kind, **options)
    batch = random_batch(SPECS[kind], rows=4, source=source, dtype=F64, needs=planner.needs)
    if kind == "discrete":  # padded steps have illegal actions
        batch.window_legal.scatter_(-1, (batch.window_action[..., None] + 1) % 4, False)
        for b, t in (1 - batch.window_real[0]).nonzero().tolist():
            batch.window_legal[0, b, t] = False
    return planner, batch, UpdateKey([0]).at(3)


def share(value, knots):
    """Return 2 F(value) - 1 by a walk through the knots; a constant feature passes."""
    knots = knots.tolist()
    if knots[0] == knots[-1]:
        return value
    value = min(max(value, knots[0]), knots[-1])
    below = max(i for i, knot in enumerate(knots) if knot <= value)
    if below == len(knots) - 1:
        return 1.0
    part = (value - knots[below]) / (knots[below + 1] - knots[below])
    low, high = (float(torch.tensor(rank / (len(knots) - 1))) for rank in (below, below + 1))  # float32, as the buffers
    return 2.0 * (low + part * (high - low)) - 1.0


def described(planner, obs):
    """Return windows (B, L, N, D) of features in [-1, 1] and one-hots, for obs (B, L, N, O)."""
    rows = []
    for at in obs.reshape(-1, *obs.shape[-2:]):
        for i, o in enumerate(at):
            features = [share(float(v), knots) for v, knots in zip(o, planner.obs_cdf.knots, strict=False)]
            rows.append(features + [float(i == j) for j in range(len(at))])
    return torch.tensor(rows, dtype=F64).reshape(*obs.shape[:3], -1)


@pytest.mark.parametrize(("method", "kind"), CASES)
def test_loss_of_the_noise(method, kind):
    planner, batch, key = example(method, kind)
    window = planner.describe(batch.window_obs)
    known = given(window, planner.views.drawn(window, key), NOW)
    loss = planner.plan_loss(window, known, batch.return_to_go / planner.goal.scale, key)
    again, N = UpdateKey([0]).at(3), planner.spec.n_agents
    x0 = described(planner, batch.window_obs[0])
    torch.testing.assert_close(window[0], x0, rtol=0, atol=1e-10)
    one = again.integers("visible", (4,), N)[0] if method == "madiff_d" else [None] * 4
    level, eps = again.integers("level", (4,), 200)[0], again.normal("noise", tuple(x0.shape))[0].double()
    keep = (again.uniform("keep", (4, N))[0] >= 0.25).double()
    total, count = 0.0, 0
    for b in range(4):
        abar, visible = planner.schedule.abar[int(level[b])], [one[b] is None or i == one[b] for i in range(N)]
        kept, rest = (torch.tensor(math.sqrt(v)).double() for v in (abar, 1 - abar))  # float32, as the buffers
        x, counts = torch.zeros_like(x0[b]), torch.zeros(L, N)
        for t in range(L):
            for i in range(N):
                if t < NOW or (t == NOW and visible[i]):
                    x[t, i] = x0[b, t, i] if visible[i] else 0.0
                else:
                    x[t, i], counts[t, i] = kept * x0[b, t, i] + rest * eps[b, t, i], 1.0
        aim = (batch.return_to_go[0, b] / 4.0).expand(N)
        found = plain_unet(planner.online.unet, x, level[b], aim, keep[b])
        for i in range(N):
            w = planner.online.weight.value[0] if method == "dof" else None
            hat = found[:, i] if w is None else found[:, i] * w[i] / w.sum()
            total = total + (counts[:, i, None] * (hat - eps[b, :, i]).square()).sum() / counts.sum()
        count += 1
    torch.testing.assert_close(loss[0], total / count / x0.shape[-1], rtol=0, atol=1e-10)


@pytest.mark.parametrize(("method", "kind"), CASES)
def test_loss_of_the_actions(method, kind):
    planner, batch, key = example(method, kind)
    window = planner.describe(batch.window_obs)
    visible = planner.views.drawn(window, key)
    loss = planner.inverse_loss(batch, window, given(window, visible, NOW).free)
    total, count = 0.0, 0
    for b in range(4):
        for t in range(L - 1):
            for i in range(planner.spec.n_agents):
                generated = t + 1 > NOW or (t + 1 == NOW and not visible[0, b, i])
                if not generated or not batch.window_real[0, b, t] or not batch.window_real[0, b, t + 1]:
                    continue
                pair = torch.cat([window[0, b, t, i], window[0, b, t + 1, i]])
                inverse = planner.online.inverse
                h = torch.relu(inverse.hidden[0].weight[0] @ pair + inverse.hidden[0].bias[0])
                head, action = inverse.output.weight[0] @ h + inverse.output.bias[0], batch.window_action[0, b, t, i]
                if kind == "discrete":
                    legal = batch.window_legal[0, b, t, i]
                    total = total + head[legal].exp().sum().log() - head[action]
                else:
                    wanted = [share(float(a), knots) for a, knots in zip(action, planner.action_cdf.knots, strict=True)]
                    total = total + (head - torch.tensor(wanted, dtype=F64)).square().mean()
                count += 1
    assert 0 < count < 4 * (L - NOW) * planner.spec.n_agents
    torch.testing.assert_close(loss[0], total / count, rtol=0, atol=1e-10)


def test_both_losses_count_half_and_one_optimiser_trains_all():
    planner, batch, key = example("madiff_d", "continuous")
    info = planner.step(batch, key)
    assert set(info) == {"plan_loss", "inverse_loss"}
    assert list(planner.optimisers) == ["planner"]
    plain, other, key = example("madiff_d", "continuous")
    window = plain.describe(other.window_obs)
    known = given(window, plain.views.drawn(window, key), NOW)
    plan_loss = plain.plan_loss(window, known, other.return_to_go / plain.goal.scale, key)
    (0.5 * (plan_loss + plain.inverse_loss(other, window, known.free))).sum().backward()
    for one, two in zip(planner.online.parameters(), plain.online.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("method", METHODS)
def test_known_steps_do_not_count(method):
    """The noise of a known step is neither target nor input; what a hidden agent did before is no input."""
    planner, batch, key = example(method, "continuous")
    window = planner.describe(batch.window_obs)
    visible = planner.views.drawn(window, key)
    known = given(window, visible, NOW)
    noise = UpdateKey([0]).at(3).normal("noise", tuple(window.shape[1:]))

    class Key(UpdateKey):
        def normal(self, purpose, shape):
            return super().normal(purpose, shape) + 9.0 * known.fixed

    def loss(window, key):
        total = batch.return_to_go / 4.0
        return planner.plan_loss(window, given(window, visible, NOW), total, key.at(3))

    usual = loss(window, UpdateKey([0]))
    assert not torch.equal(noise, Key([0]).at(3).normal("noise", tuple(window.shape[1:])))
    assert torch.equal(loss(window, Key([0])), usual)
    past = window.clone()
    past[:, :, :NOW][~visible[:, :, None].expand(-1, -1, NOW, -1)] += 1.0
    assert torch.equal(loss(past, UpdateKey([0])), usual)
    past[:, :, :NOW] += 1.0
    assert not torch.equal(loss(past, UpdateKey([0])), usual)


def test_the_known_part_is_imposed_exactly():
    window = torch.randn(1, 2, L, 3, 5, generator=G)
    visible = torch.tensor([[[True, True, True], [False, True, False]]])
    known = given(window, visible, NOW)
    x = known.impose(torch.full_like(window, 7.0))
    assert torch.equal(x[0, 0, : NOW + 1], window[0, 0, : NOW + 1])
    assert torch.equal(x[0, 1, : NOW + 1, 1], window[0, 1, : NOW + 1, 1])
    assert (x[0, 1, :NOW, [0, 2]] == 0.0).all()
    assert (x[0, 1, NOW, [0, 2]] == 7.0).all()
    assert (x[:, :, NOW + 1 :] == 7.0).all()
    assert torch.equal(known.impose(x), x)
    assert torch.equal(known.free, (x == 7.0).all(-1).to(x.dtype))


def test_the_pair_that_ends_in_a_stored_final_observation_trains_the_inverse_model():
    pairs = {}
    for finals in (True, False):
        columns = small_columns(lengths=(3, 3)) if finals else without_finals(small_columns(lengths=(3, 3)))
        store = TransitionStore.hold(columns, "raw_onehot", "none", "terminal")
        planner = Planner(store.spec, [0], **METHODS["madiff_c"], **TINY)
        store.provide(planner.needs, planner.gamma)
        batch = store.draw(UpdateKey([0]).at(0), 64, planner.needs)
        real = batch.window_real[..., NOW:]
        pairs[finals] = int((real[..., :-1] * real[..., 1:]).sum())
    assert pairs[True] == pairs[False] + 64  # one more for every row


def test_windows_from_memory_and_from_disk_train_alike(tmp_path):
    results = []
    for store in both(tmp_path, [small_columns()]):
        planner = Planner(store.spec, [0, 1], **METHODS["madiff_d"], **TINY)
        planner.survey(store.survey(planner.gamma))
        store.provide(planner.needs, planner.gamma)
        key = UpdateKey([0, 1])
        for update in range(3):
            planner.step(store.draw(key.at(update), 8, planner.needs), key)
        results.append(planner.state_dict())
    for name, value in results[0].items():
        assert torch.equal(value, results[1][name]), name


@pytest.mark.parametrize("method", METHODS)
def test_several_seeds_are_single_runs_to_the_bit(method):
    def build(seeds):
        return Planner(SPECS["discrete"], seeds, **METHODS[method], **TINY)

    joint, singles = build([0, 1]), [build([s]) for s in range(2)]
    key, keys = UpdateKey([0, 1]), [UpdateKey([s]) for s in range(2)]
    for update in range(3):
        batch = random_batch(SPECS["discrete"], 2, rows=7, source=update, needs=joint.needs)
        joint.step(batch, key.at(update))
        for s, single in enumerate(singles):
            single.step(batch.seed(s), keys[s].at(update))
    for s, single in enumerate(singles):
        for (name, one), two in zip(joint.named_parameters(), single.parameters(), strict=True):
            assert torch.equal(one[s], two[0]), name


def test_the_averaged_networks_begin_as_a_plain_average():
    planner, batch, key = example("dof", "discrete", ema=0.75)
    seen = []
    for update in range(5):
        planner.step(batch, key.at(update))
        seen.append(planner.online.weight.value.detach().clone())
    mean = sum(seen[:4]) / 4
    torch.testing.assert_close(planner.averaged.weight.value, 0.75 * mean + 0.25 * seen[4], rtol=1e-6, atol=0)


# --- acting ----------------------------------------------------------------------------------------------------------
def play(planner, steps=3, episodes=4, active=None, seed=0, reward=None, **acting):
    """Return the actions of some steps and the last memory; observations are those of `seed`."""
    g, memory, found = torch.Generator().manual_seed(seed), None, []
    for step in range(steps):
        S, N = len(planner.seeds), planner.spec.n_agents
        obs = torch.randn(1, episodes, N, 5, generator=g, dtype=F64).expand(S, -1, -1, -1)
        legal = torch.ones(S, episodes, N, 4, dtype=torch.bool) if planner.spec.discrete else None
        key = ActKey(planner.seeds, 0, range(episodes)).at(step)
        way = Acting(**{"noise": 0.5, "steps": 3, **acting})
        with torch.inference_mode():
            action, memory = planner.act(Seen(obs, legal, reward, active), memory, key, way)
        found.append(action)
    return torch.stack(found), memory


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_finished_episodes_are_left_out_and_the_others_do_the_same(method, sampler):
    planner = made(method, "continuous", seeds=(0, 1), sampler=Sampler(200, sampler, "leading"))
    rows = []
    usual = type(planner.averaged).noise
    planner.averaged.noise = lambda x, *rest: rows.append(x.shape[1]) or usual(planner.averaged, x, *rest)
    whole, _ = play(planner)
    before, rows[:] = rows[-1], []
    active = torch.tensor([[True, False, True, False], [False, False, True, False]])
    part, _ = play(planner, active=active)
    torch.testing.assert_close(part[:, :, [0, 2]], whole[:, :, [0, 2]], rtol=0, atol=1e-12)
    assert rows[-1] == before // 2
    assert before == 2 * 4 * (3 if method == "madiff_d" else 1)


def test_noise_zero_is_deterministic_and_shared_noise_is_one_for_all():
    planner = made("dof", "continuous")
    assert torch.equal(play(planner, noise=0.0)[0], play(planner, noise=0.0)[0])
    assert not torch.equal(play(planner, noise=0.5)[0], play(planner, noise=1.0)[0])
    like = torch.zeros(1, 4, L, 3, 8)
    for method in METHODS:
        views = made(method, "continuous").views
        for shared in (False, True):
            noise = views.noise(ActKey([0], 0, range(4)), "plan", like, 4, shared)
            assert noise.shape == (1, 4, 3 if method == "madiff_d" else 1, L, 3, 8)
            assert torch.equal(noise[:, :, 0], noise[:, :, -1]) == (shared or method != "madiff_d")
            assert torch.equal(noise[..., 0, :], noise[..., 1, :]) == (shared and method != "madiff_d")


def test_the_memory_begins_with_copies_of_the_first_observation():
    planner = made("madiff_c", "continuous")
    _, (past, _) = play(planner, steps=1)
    assert past.shape == (1, 4, NOW, 3, 8)
    assert torch.equal(past, past[:, :, -1:].expand_as(past))
    _, (past, _) = play(planner, steps=2)
    assert torch.equal(past[:, :, :-1], past[:, :, :1].expand(-1, -1, NOW - 1, -1, -1))
    assert not torch.equal(past[:, :, -1], past[:, :, 0])


def test_the_factorised_plan_is_that_of_every_agent_alone():
    """DoF with all agents visible equals its authors' form: a joint plan per agent, of which the agent takes its row."""
    joint = made("dof", "continuous")
    alone = made("dof", "continuous", visible="one")
    assert joint.decentralised and alone.decentralised
    known = torch.randn(1, 2, NOW + 1, 3, 8, generator=G, dtype=F64)
    acting, total = Acting(noise=0.5, steps=4, shared=True), torch.ones(1, 2, dtype=F64)
    noise = torch.randn(1, 2, 1, L, 3, 8, generator=G, dtype=F64)
    plans = []
    for planner in (joint, alone):
        object.__setattr__(
            planner.views, "noise", lambda *_, n=planner.views.plans: noise.expand(-1, -1, n, -1, -1, -1)
        )
        with torch.no_grad():
            plans.append(planner.plan(known, total, slice(None), None, acting))
    torch.testing.assert_close(plans[0], plans[1], rtol=0, atol=1e-12)


def test_who_is_decentralised():
    for method, options, expected in (
        ("madiff_c", {}, False),
        ("madiff_d", {}, True),
        ("dof", {}, True),
        ("madiff_d", {"goal": GoalSettings(rtg=True)}, False),
    ):
        assert made(method, "discrete", **options).decentralised is expected


def test_rewards_are_taken_from_the_return_that_is_left():
    rewards = [1.5, -0.5, 2.0, 0.25]
    total = sum(r * 0.9**t for t, r in enumerate(rewards))
    goal = Goal(GoalSettings(target=total / 20.0, scale=20.0, rtg=True), 0.9)
    left = goal.first(torch.zeros(1, 1, dtype=F64))
    for t, reward in enumerate(rewards):
        expected = sum(r * 0.9**k for k, r in enumerate(rewards[t:]))
        torch.testing.assert_close(left * 20.0, torch.full_like(left, expected), rtol=0, atol=1e-6)
        left = goal.left(left, torch.full((1, 1), reward, dtype=F64))
    assert abs(float(left)) < 1e-6
    with pytest.raises(ConfigError, match=r"algo\.goal\.rtg=true needs the team's reward"):
        goal.left(left, None)
    fixed = Goal(GoalSettings(), 0.9)
    assert torch.equal(fixed.left(left, None), left)


def test_a_received_reward_changes_the_next_plan_under_rtg_only():
    for rtg in (False, True):
        planner = made("madiff_d", "continuous", goal=GoalSettings(rtg=rtg))
        none, some = (play(planner, 2, reward=torch.full((1, 4), r, dtype=F64))[0] for r in (0.0, 3.0))
        assert torch.equal(none[0], some[0])
        assert torch.equal(none[1], some[1]) is not rtg


def test_the_scale_of_the_returns_is_the_quantile_of_the_data_or_the_given_number():
    assert float(made("dof", "discrete").goal.scale) == 4.0
    assert float(made("dof", "discrete", goal=GoalSettings(scale=20.0)).goal.scale) == 20.0
    goal = Goal(GoalSettings(), 0.9)
    goal.fit(survey(True, scale=0.0))
    assert float(goal.scale) == 1.0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"history": 4}, "7 steps must be a multiple of 2"),
        ({"history": 8, "horizon": 1}, "at least 2"),
        ({"goal": GoalSettings(scale=0.0)}, r"goal\.scale must be above 0"),
        ({"goal": GoalSettings(dropout=1.5)}, r"goal\.dropout is a share"),
        ({"acting": Acting(best_of=2)}, "best_of"),
        ({"acting": Acting(steps=201)}, "201 sampling steps"),
    ],
)
def test_what_cannot_work_is_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        Planner(continuous_spec(), [0], **{**METHODS["madiff_c"], **TINY, **options})


@pytest.mark.parametrize(("kind", "steps"), [("discrete", (21, 4)), ("continuous", (19, 10))])
def test_a_window_is_as_long_as_in_madiffs_code(kind, steps):
    planner = Planner(SPECS[kind], [0], net=UNetSize(8, [1, 2, 4], 3))
    assert (planner.needs.history, planner.needs.ahead + 1) == steps
