"""The environment contract: E episodes step together. Termination, truncation and failures are separate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from vgm2p.errors import ConfigError, MissingInput
from vgm2p.types import Actor, Spec


@dataclass
class Frame:
    """What the agents of E episodes see before they act.

    Attributes:
        obs: (E, N, O) float32, in the view `Spec.view`, not standardised by dataset statistics.
        legal: (E, N, A) bool for discrete actions, else None.
        state: (E, D) float32 global state, or None.
    """

    obs: NDArray[np.float32]
    legal: NDArray[np.bool_] | None = None
    state: NDArray[np.float32] | None = None


@dataclass
class Step:
    """Result of one step of E episodes. Rows that were not active have zeros, False and their last frame.

    Attributes:
        frame: observations after the step; the final observation if the episode ended.
        reward: (E,) float64 team reward.
        terminated: (E,) bool, whether the task ended.
        truncated: (E,) bool, whether the step limit was reached and the task did not end.
        fault: (E,) bool, whether the environment failed. The episode must be repeated, and is not scored.
        info: further arrays (E,). `won`: bool. `cause`: text, the cause of a fault. `log`: text, the last lines that
            the simulator wrote before a fault. Any other name: a number of the episode so far; `Episode.extra` has its
            last value. All episodes end with the same names.
    """

    frame: Frame
    reward: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    fault: NDArray[np.bool_]
    info: dict[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Episode:
    """One finished episode.

    Attributes:
        seed: training seed of the policy.
        episode: number of the episode.
        return_: undiscounted sum of team rewards.
        length: number of steps.
        terminated: whether the task ended the episode; otherwise the step limit did.
        won: whether it was won; None if the task has no victory.
        faults: number of environment failures before the episode was finished.
        extra: further numbers of the environment, by name.
    """

    seed: int
    episode: int
    return_: float
    length: int
    terminated: bool
    won: bool | None = None
    faults: int = 0
    extra: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Unplayed:
    """An episode that could not be played, although it was repeated.

    Attributes:
        episode: number of the episode.
        cause: why the environment failed.
        log: the last lines that the simulator wrote; empty if it keeps none.
    """

    episode: int
    cause: str
    log: str = ""


@dataclass(frozen=True)
class Unsound:
    """A seed without a result, because its policy is not usable.

    Attributes:
        seed: training seed of the policy.
        line: what is wrong with it, in one line.
    """

    seed: int
    line: str


@dataclass(frozen=True)
class Evaluation:
    """The evaluation of one policy.

    Attributes:
        update: number of updates of the policy.
        episodes: the episodes of all seeds.
        unplayed: episodes that are missing for every seed.
        unsound: seeds whose episodes are missing, because their policies are not usable.
    """

    update: int
    episodes: list[Episode]
    unplayed: list[Unplayed]
    unsound: list[Unsound] = field(default_factory=list)

    @classmethod
    def from_plain(cls, content: dict[str, Any]) -> Evaluation:
        """Return the evaluation that `dataclasses.asdict` has made plain."""
        episodes = [Episode(**episode) for episode in content["episodes"]]
        unplayed = [Unplayed(**each) for each in content["unplayed"]]
        return cls(content["update"], episodes, unplayed, [Unsound(**each) for each in content["unsound"]])


TEXTS = ("cause", "log")  # names in `Step.info` that are text
FIRST_SEED = 1_000_000


def episode_seed(episode: int) -> int:
    """Return the environment seed of an episode. It is the same for every algorithm, update and training seed."""
    return FIRST_SEED + episode


class VectorEnv(Protocol):
    """E copies of one task that step together. A yaml file of `conf/env/` names the class.

    A class may have two attributes that are known without the simulator. `discrete`: whether its actions are discrete.
    `draws`: False if `render` always fails. It may also have methods `heuristic()`, which returns an actor, and
    `save_replay(path)`, which writes a replay of the last episode of slot 0.

    Attributes:
        spec: the task.
        max_active: largest number of slots with an episode at the same time; None: all. Empty slots cost nothing.
    """

    spec: Spec
    max_active: int | None

    @property
    def versions(self) -> dict[str, str]:
        """Package name -> version, of the packages that determine the dynamics."""
        ...

    def make(self, n_envs: int) -> None:
        """Change the number of slots to `n_envs`. Raises MissingInput or ServiceError if it cannot."""
        ...

    def reset(self, seeds: Sequence[int | None]) -> Frame:
        """Start an episode in every slot whose seed is not None. The other slots keep their episode."""
        ...

    def step(self, actions: NDArray[Any], active: NDArray[np.bool_]) -> Step:
        """Step the slots with `active` (E,) True, with actions (E, N, A) float or (E, N) int."""
        ...

    def render(self, index: int = 0) -> NDArray[np.uint8]:
        """Return a picture (H, W, 3) of slot `index`. Raises ServiceError if the machine cannot draw."""
        ...

    def close(self) -> None:
        """Release simulators and processes."""
        ...


def name_of(env: VectorEnv) -> str:
    """Return the task of an environment, and its class if it is not one of ours, for messages."""
    cls = type(env)
    own = cls.__module__.startswith("vgm2p.")
    return f"environment {env.spec.env_id}" + ("" if own else f" ({cls.__module__}.{cls.__qualname__})")


def require_task(env: VectorEnv) -> None:
    """Raise ConfigError if an environment does not say its task, or has no step limit: an episode might never end."""
    cls = type(env)
    if not isinstance(getattr(env, "spec", None), Spec) or not hasattr(env, "max_active"):
        raise ConfigError(f"environment {cls.__module__}.{cls.__qualname__}: lacks spec (a Spec) or max_active")
    limit: Any = env.spec.episode_limit
    if isinstance(limit, bool) or not isinstance(limit, int | np.integer) or limit < 1:
        raise ConfigError(
            f"{name_of(env)}: env.episode_limit={limit} is no limit; give the largest number of steps of an episode"
        )


def heuristic(env: VectorEnv) -> Actor:
    """Return the heuristic policy of an environment, by its optional method `heuristic()`.

    Raises:
        ConfigError: if the environment has none.
    """
    make = getattr(env, "heuristic", None)
    if make is None:
        raise ConfigError(f"policy=heuristic: {env.spec.env_id} has no heuristic; use random or a run folder")
    actor: Actor = make()
    return actor


@runtime_checkable
class Interruptible(Protocol):
    """An environment whose steps may take long. It calls `stop`, and raises RolloutStopped when this returns True."""

    stop: Callable[[], bool]


class NoSimulator(VectorEnv):
    """Placeholder for data whose simulator is not part of this program. The constructor raises MissingInput."""

    def __init__(self) -> None:
        raise MissingInput("this data's simulator is not part of vgm2p")
