"""The contract of all environments. They are found in `conf/env`, so a new yaml file is tested without a new test.

A folder `conf` in the working folder is searched, too. CONTRACT_ENVS=a,b tests only these environments.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from tests.envs.cases import FILES, VIEWS, build, game, missing
from vgm2p.envs.base import TEXTS
from vgm2p.errors import ServiceError
from vgm2p.types import Spec

SHORT = 3  # steps of an episode, where the yaml has a key `episode_limit`
STEPS = 5  # of the tests that need no end


@pytest.fixture(scope="module")
def path(request) -> Path:
    return FILES[request.param]


def pytest_generate_tests(metafunc):
    """Run every test for every yaml; one whose simulator is missing gives a single skipped test with the reason."""
    if "path" in metafunc.fixturenames:
        first = metafunc.function is test_the_spec_says_what_the_task_is
        found = {name: missing(path) for name, path in FILES.items()}
        reasons = [pytest.param(name, marks=pytest.mark.skip(line)) for name, line in found.items() if line and first]
        metafunc.parametrize("path", [name for name, line in found.items() if not line] + reasons, indirect=True)


@pytest.fixture(scope="module")
def env(path):
    """The environment of a yaml, with short episodes where that can be set."""
    node = OmegaConf.load(path)
    with game():
        found = build(path, **({"episode_limit": SHORT} if "episode_limit" in node else {}))
        yield found
        found.close()


def several(env, *seeds):
    """Return the seeds of a reset, None where the environment cannot have as many episodes at once."""
    return [seed if env.max_active is None or i < env.max_active else None for i, seed in enumerate(seeds)]


def choose(spec: Spec, frame, rng):
    """Return random actions (E, N, A) in [-1, 1], or random legal ones (E, N)."""
    shape = (len(frame.obs), spec.n_agents, spec.action_dim)
    if not spec.discrete:
        return rng.uniform(-1.0, 1.0, shape).astype(np.float32)
    return np.where(frame.legal, rng.random(shape), -1.0).argmax(-1)


def play(env, seeds, steps, source=0):
    """Reset and step; return the frames, and the steps, until nobody is active any more or `steps` are done."""
    rng = np.random.default_rng(source)
    frames, results = [env.reset(seeds)], []
    active = np.array([seed is not None for seed in seeds])
    while active.any() and len(results) < steps:
        results.append(env.step(choose(env.spec, frames[-1], rng), active))
        frames.append(results[-1].frame)
        active = active & ~(results[-1].terminated | results[-1].truncated)
    return frames, results


def row(frame, slot):
    """Return the arrays of one slot."""
    return [None if array is None else array[slot].copy() for array in (frame.obs, frame.legal, frame.state)]


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def check_frame(frame, spec, count):
    assert frame.obs.shape == (count, spec.n_agents, spec.obs_dim)
    assert frame.obs.dtype == np.float32
    assert np.isfinite(frame.obs).all()
    if spec.discrete:
        assert frame.legal.shape == (count, spec.n_agents, spec.action_dim)
        assert frame.legal.dtype == np.bool_
        assert frame.legal.any(-1).all(), "an agent without a legal action"
    else:
        assert frame.legal is None
    if spec.state_dim is None:
        assert frame.state is None
    else:
        assert frame.state.shape == (count, spec.state_dim)
        assert frame.state.dtype == np.float32
        assert np.isfinite(frame.state).all()


def test_the_spec_says_what_the_task_is(env):
    spec = env.spec
    assert min(spec.n_agents, spec.obs_dim, spec.action_dim, spec.episode_limit) >= 1
    assert spec.state_dim is None or spec.state_dim >= 1
    assert all(type(getattr(spec, name)) is int for name in ("n_agents", "obs_dim", "action_dim", "episode_limit"))
    assert type(spec.discrete) is bool
    assert getattr(type(env), "discrete", spec.discrete) is spec.discrete, "the class says another kind of actions"
    assert spec.view in VIEWS
    assert spec.env_id
    stored = json.loads(json.dumps(spec.to_dict()))
    assert Spec(**stored) == spec, "a checkpoint could not store this spec"
    assert env.max_active is None or env.max_active >= 1
    assert all(isinstance(text, str) and text for pair in env.versions.items() for text in pair)


def test_frames_and_steps_have_their_shapes_and_types(env):
    env.make(2)
    frames, results = play(env, several(env, 3, 4), STEPS)
    for frame in frames:
        check_frame(frame, env.spec, 2)
    for step in results:
        assert step.reward.shape == (2,)
        assert step.reward.dtype == np.float64
        assert np.isfinite(step.reward).all()
        for flag in (step.terminated, step.truncated, step.fault):
            assert flag.shape == (2,)
            assert flag.dtype == np.bool_
        assert not step.fault.any(), step.info.get("cause")
        for name, values in step.info.items():
            assert len(values) == 2, name
            kinds = {"won": "b", **dict.fromkeys(TEXTS, "OU")}.get(name, "biuf")
            assert values.dtype.kind in kinds, (name, values.dtype)


def test_a_frame_is_not_changed_by_later_steps(env):
    env.make(1)
    first = env.reset([3])
    kept = row(first, 0)
    env.step(choose(env.spec, first, np.random.default_rng(0)), np.ones(1, bool))
    assert same(row(first, 0), kept)


def test_a_seed_decides_the_episode(env):
    """Whatever was played before, and, rewards apart, whatever the slot and beside whom."""
    env.make(1)
    frames, results = play(env, [5], STEPS)
    play(env, [6], STEPS, source=1)
    again, repeated = play(env, [5], STEPS)
    assert all(same(row(a, 0), row(b, 0)) for a, b in zip(frames, again, strict=True))
    assert [step.reward[0] for step in results] == [step.reward[0] for step in repeated]
    env.make(2)
    if env.max_active == 1:
        return
    frame, active = env.reset([7, 5]), np.ones(2, bool)
    rng = np.random.default_rng(0)
    for before, after, step in zip(frames, frames[1:], results, strict=False):
        assert same(row(frame, 1), row(before, 0))
        mine = choose(env.spec, before, rng)
        both = np.concatenate([choose(env.spec, frame, np.random.default_rng(9))[:1], mine])
        result = env.step(both, active)
        assert same(row(result.frame, 1), row(after, 0))
        assert (result.terminated[1], result.truncated[1]) == (step.terminated[0], step.truncated[0])
        frame, active = result.frame, np.array([active[0] and not (result.terminated[0] or result.truncated[0]), True])


def test_episodes_end_once_and_at_the_limit_by_truncation(path, env):
    env.make(2)
    seeds = several(env, 1, 2)
    limit = env.spec.episode_limit
    _, results = play(env, seeds, limit + 1)
    assert len(results) <= limit
    over = np.array([seed is None for seed in seeds])
    for number, step in enumerate(results, 1):
        assert not (step.terminated & step.truncated).any()
        assert not (over & (step.terminated | step.truncated)).any()
        assert not (step.truncated & (number < limit)).any(), "truncated before the limit"
        over |= step.terminated | step.truncated
    assert over.all(), "an episode goes on beyond its limit"


def test_the_step_limit_does_not_terminate_and_changes_no_step_before_it(path, env):
    if "episode_limit" not in OmegaConf.load(path):
        assert env.spec.episode_limit != SHORT
        return
    with game():
        later = build(path, episode_limit=SHORT + 2)
        later.make(1)
        env.make(1)
        (_, cut), (_, whole) = (play(one, [1], SHORT) for one in (env, later))
        later.close()
    for short, long in zip(cut, whole, strict=True):
        assert (short.terminated[0], short.reward[0]) == (long.terminated[0], long.reward[0])
        assert not long.truncated[0]


def test_slots_that_are_not_active_stay_as_they_are(env):
    env.make(2)
    seeds = several(env, 3, 4)
    first = env.reset(seeds)
    kept, rng = row(first, 1), np.random.default_rng(0)
    frame, active = first, np.array([True, False])
    while active[0]:  # to the end of the other's episode
        step = env.step(choose(env.spec, frame, rng), active)
        frame = step.frame
        assert same(row(frame, 1), kept)
        assert step.reward[1] == 0.0
        assert not (step.terminated[1] or step.truncated[1] or step.fault[1])
        active[0] = not (step.terminated[0] or step.truncated[0])
    ended = row(frame, 0)
    if seeds[1] is not None:
        step = env.step(choose(env.spec, frame, rng), np.array([False, True]))
        assert same(row(step.frame, 0), ended), "an ended slot keeps its last frame"
        assert step.reward[0] == 0.0
        kept = row(step.frame, 1)
    assert same(row(env.reset([8, None]), 1), kept), "a slot that is given no seed keeps its episode"


def test_slots_can_be_added_and_taken_away(env):
    env.make(1)
    alone = row(env.reset([5]), 0)
    env.make(3)
    frame = env.reset(several(env, 5, 6, 7))
    check_frame(frame, env.spec, 3)
    assert same(row(frame, 0), alone)
    env.make(1)
    assert same(row(env.reset([5]), 0), alone)


def test_a_picture_is_drawn_or_the_machine_is_named(env):
    if not hasattr(env, "render"):
        return
    env.make(1)
    env.reset([0])
    try:
        picture = env.render(0)
    except ServiceError:
        return
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
    assert picture.shape[-1] == 3
    assert picture.std() > 0


def test_closing_twice_is_no_error(path):
    with game():
        env = build(path)
        env.make(1)
        env.reset([0])
        env.close()
        env.close()
    assert env.spec.n_agents >= 1
