"""What an environment returns is checked: another type, shape or name is a mistake that is named, never a result."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.support import continuous_spec
from vgm2p.envs.base import Frame, Step
from vgm2p.errors import ConfigError, ServiceError
from vgm2p.execution.guard import Guarded

SPEC = continuous_spec(state_dim=2)
FRAME = Frame(np.zeros((1, 3, 5), np.float32), None, np.zeros((1, 2), np.float32))
STEP = Step(FRAME, np.zeros(1), *(np.zeros(1, bool) for _ in range(3)), {"score": np.zeros(1)})


class World:
    """Returns what it was given."""

    max_active = None

    def __init__(self, frame: Any = FRAME, result: Any = STEP, spec: Any = SPEC) -> None:
        self.frame, self.result, self.spec = frame, result, spec

    def make(self, n_envs):
        pass

    def reset(self, seeds):
        return self.frame

    def step(self, actions, active):
        return self.result


def played(world):
    env = Guarded(world)
    env.make(1)
    env.reset([1_000_000])
    return env.step(np.zeros((1, 3, 2), np.float32), np.ones(1, bool))


def info(**entries):
    return replace(STEP, info=entries)


WRONG = {
    "gymnasium's tuple": ((FRAME.obs, 0.0, False, False, {}), "step must be a Step, got tuple"),
    "nothing": (None, "step must be a Step, got NoneType"),
    "no frame": (replace(STEP, frame=None), "frame must be a Frame, got NoneType"),
    "no info": (replace(STEP, info=None), "info must be a Mapping, got NoneType"),
    "info of another shape": (info(score=np.zeros(7)), r"info 'score' must have shape \(1,\), got \(7,\)"),
    "a cause of another shape": (info(cause="fell"), r"info 'cause' must have shape \(1,\), got \(\)"),
    "info that replaces the return": (info(**{"return": np.zeros(1)}), "info 'return' cannot be a column"),
    "info that replaces the update": (info(update=np.zeros(1)), "info 'update' cannot be a column"),
    "a name of two lines": (info(**{"a\nb": np.zeros(1)}), r"info 'a\\nb' cannot be a column"),
    "a state of text": (replace(STEP, frame=replace(FRAME, state=np.full((1, 2), "x"))), r"state must be a float"),
    "a narrow state": (replace(STEP, frame=replace(FRAME, state=np.zeros((1, 1)))), r"state must be a float array"),
    "a return without end": (replace(STEP, reward=np.full(1, 1e308)), r"reward is 1e\+308 at step 1 of episode 0"),
    "observations without end": (
        replace(STEP, frame=replace(FRAME, obs=np.full((1, 3, 5), 1e300))),
        r"observation is 1e\+300 at step 1 of episode 0",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_result_is_named(what):
    result, line = WRONG[what]
    with pytest.raises(ServiceError, match=f"World.: {line}"):
        played(World(result=result))


def test_a_wrong_first_frame_is_named():
    with pytest.raises(ServiceError, match="frame must be a Frame, got tuple"):
        played(World(frame=(FRAME.obs, {})))


def test_an_environment_without_a_task_is_named():
    with pytest.raises(ConfigError, match=r"World: lacks spec \(a Spec\) or max_active"):
        Guarded(World(spec=None))


def test_texts_numbers_and_whole_rewards_are_accepted():
    entries = {"won": np.ones(1, bool), "cause": np.array([""], object), "score of the team": np.ones(1, int)}
    assert played(World(result=replace(info(**entries), reward=np.ones(1, int)))).info.keys() == entries.keys()


ENDED = replace(STEP, terminated=np.ones(1, bool))


@pytest.mark.parametrize("names", [["a", "b"], ["a", ""], ["", "a"]])
def test_numbers_of_some_episodes_only_are_named(names):
    world = World()
    env = Guarded(world)
    for name, refused in zip(names, (False, True), strict=True):
        env.make(1)
        env.reset([1_000_000])
        world.result = replace(ENDED, info={name: np.zeros(1)} if name else {})
        if not refused:
            env.step(np.zeros((1, 3, 2), np.float32), np.ones(1, bool))
            continue
        with pytest.raises(
            ServiceError, match=r"World.: info 'a' is given at the end of some episodes only; give"
        ) as e:
            env.step(np.zeros((1, 3, 2), np.float32), np.ones(1, bool))
        assert e.value.line.endswith("; mend this class")


def test_numbers_that_stand_only_where_an_episode_ends_are_accepted():
    world = World()
    env = Guarded(world)
    env.make(1)
    for _ in range(2):
        env.reset([1_000_000])
        for world.result in (replace(STEP, info={}), replace(ENDED, info={"a": np.zeros(1), "won": np.ones(1, bool)})):
            found = env.step(np.zeros((1, 3, 2), np.float32), np.ones(1, bool))
        assert found.info.keys() == {"a", "won"}
    texts = {"cause": np.array(["it died"], object), "log": np.array([""], object)}
    world.result = replace(ENDED, fault=np.ones(1, bool), info=texts)
    env.reset([1_000_000])
    assert env.step(np.zeros((1, 3, 2), np.float32), np.ones(1, bool)).fault[0]
