"""Planners that act: finished episodes, noise, memory, the return that is left, and what is refused."""

import math

import pytest
import torch

from tests.algos.cases import F64, SPECS
from tests.algos.planner_cases import METHODS, NOW, TINY, G, L, made, survey
from tests.strangers.line_world import LineWorld
from tests.support import continuous_spec
from vgm2p.algos.goal import Goal, GoalSettings
from vgm2p.algos.planner import Planner
from vgm2p.bench.shapes import SHAPES
from vgm2p.errors import ConfigError
from vgm2p.execution.rollout import rollout
from vgm2p.nn.unet import UNetSize
from vgm2p.rng import ActKey, rows
from vgm2p.types import Acting, Seen


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
    planner = made(method, "continuous", seeds=(0, 1), sampler=sampler)
    counts = []
    usual = type(planner.averaged).noise
    planner.averaged.noise = lambda x, *rest: counts.append(x.shape[1]) or usual(planner.averaged, x, *rest)
    whole, _ = play(planner)
    before = counts[-1]
    active = torch.tensor([[True, False, True, False], [False, False, True, False]])
    part, _ = play(planner, active=active)
    torch.testing.assert_close(part[:, :, [0, 2]], whole[:, :, [0, 2]], rtol=0, atol=1e-12)
    assert counts[-1] == before // 2
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


def test_an_episode_does_not_depend_on_the_others_that_run_with_it():
    planner = Planner(LineWorld().spec, [0, 1], **METHODS["madiff_d"], **TINY, acting=Acting(0.5, steps=3))
    together, apart = (rollout(planner, LineWorld(), 0, [0, 1], 3, slots=slots) for slots in (6, 2))
    for one, two in zip(together, apart, strict=True):
        assert one.return_ == pytest.approx(two.return_, abs=1e-5)
    assert len({round(episode.return_, 5) for episode in together}) == 6


@pytest.mark.parametrize("shape", SHAPES)
def test_tables_of_random_numbers_stay_small(shape):
    """At most 64 MB per purpose in training; numbers for acting are not kept."""
    spec = SHAPES[shape].spec
    planner = Planner(spec, [0], net=UNetSize(8, [1, 2, 4], 3))
    window = (64, planner.needs.history + planner.needs.ahead, spec.n_agents, spec.obs_dim + spec.n_agents)
    assert rows(window) * math.prod(window) * 4 <= 64e6
    key = ActKey([0], 0, range(2))
    planner.act(Seen(torch.zeros(1, 2, spec.n_agents, spec.obs_dim)), None, key, Acting(0.5, steps=1))
    assert key._drawn == {}


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


def test_rewards_cannot_be_taken_from_a_return_without_a_discount():
    with pytest.raises(ConfigError, match=r"algo\.gamma"):
        Goal(GoalSettings(rtg=True), 0.0)
