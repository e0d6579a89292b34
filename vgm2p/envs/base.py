"""The environment contract: E episodes stepped together; ends of tasks, step limits and failures are kept apart."""

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
        obs: (E, N, O) float32, in the view that `Spec.view` names, before any dataset standardisation.
        legal: (E, N, A) bool for discrete actions, else None.
        state: (E, D) float32 global state, or None.
    """

    obs: NDArray[np.float32]
    legal: NDArray[np.bool_] | None = None
    state: NDArray[np.float32] | None = None


@dataclass
class Step:
    """Result of one step of E episodes; rows that were not active hold zeros, False and their last frame.

    Attributes:
        frame: what follows the step (the final observation where the episode ended).
        reward: (E,) float64 team reward.
        terminated: (E,) bool, the task itself ended (never merged with `truncated`).
        truncated: (E,) bool, the step limit was reached without termination.
        fault: (E,) bool, the environment failed: the episode must be repeated and is never scored.
        info: further arrays (E,). `won`: bool. `cause`: text, why a fault happened. Any other name: a number of the
            episode so far; its last value is kept in `Episode.extra`.
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
        length: steps.
        terminated: whether the task ended it (otherwise the step limit did).
        won: whether it was won; None where the task knows no victory.
        faults: environment failures before it could be finished.
        extra: further numbers that the environment gives, by name.
    """

    seed: int
    episode: int
    return_: float
    length: int
    terminated: bool
    won: bool | None = None
    faults: int = 0
    extra: dict[str, float] = field(default_factory=dict)


class VectorEnv(Protocol):
    """E copies of one task, stepped together; made by Hydra from a yaml of `conf/env/`.

    A class may have an attribute `discrete`: whether its actions are discrete. It is known without the simulator.

    Attributes:
        spec: the task.
        max_active: how many slots can have an episode at the same time; None: all. A slot without one costs nothing.
    """

    spec: Spec
    max_active: int | None

    @property
    def versions(self) -> dict[str, str]:
        """Package name -> version of everything that decides the physics."""
        ...

    def make(self, n_envs: int) -> None:
        """Create (or grow to) `n_envs` slots. Raises `MissingInput`/`ServiceError` with the remedy if it cannot."""
        ...

    def reset(self, seeds: Sequence[int | None]) -> Frame:
        """Start an episode in every slot whose seed is not None; slots given None keep their episode."""
        ...

    def step(self, actions: NDArray[Any], active: NDArray[np.bool_]) -> Step:
        """Step the active slots with (E, N, A) float or (E, N) int actions."""
        ...

    def render(self, index: int = 0) -> NDArray[np.uint8]:
        """Return an (H, W, 3) picture of slot `index`; raises `ServiceError` where the machine cannot draw."""
        ...

    def close(self) -> None:
        """Release simulators and processes."""
        ...


def heuristic(env: VectorEnv) -> Actor:
    """Return the behaviour policy of an environment that has one (the optional method `heuristic()`).

    Raises:
        ConfigError: if it has none.
    """
    make = getattr(env, "heuristic", None)
    if make is None:
        raise ConfigError(f"policy=heuristic: {env.spec.env_id} has no heuristic; use random or a run folder")
    actor: Actor = make()
    return actor


@runtime_checkable
class Interruptible(Protocol):
    """An environment whose steps may take long: it polls `stop` and raises RolloutStopped once that is True."""

    stop: Callable[[], bool]


class NoSimulator(VectorEnv):
    """Placeholder for data whose simulator this program does not have. Raises MissingInput when made."""

    def __init__(self) -> None:
        raise MissingInput("this data's simulator is not part of vgm2p")
