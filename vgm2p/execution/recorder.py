"""Records whole episodes of an environment, including the final observations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgm2p.envs.base import Frame, Step, VectorEnv
from vgm2p.execution.guard import guarded
from vgm2p.types import Spec


@dataclass
class Tape:
    """One episode of L steps. It has L + 1 observations, but L actions and rewards.

    Attributes:
        seed: seed of the environment's reset.
        obs: L + 1 arrays (N, O).
        state: L + 1 arrays (D,); empty if the environment has no state.
        legal: L + 1 arrays (N, A); empty if the environment has no legal actions.
        actions: L arrays (N, A) or (N,).
        rewards: L team rewards.
        terminated: whether the task ended the episode; otherwise the step limit did.
    """

    seed: int
    obs: list[NDArray[Any]] = field(default_factory=list)
    state: list[NDArray[Any]] = field(default_factory=list)
    legal: list[NDArray[Any]] = field(default_factory=list)
    actions: list[NDArray[Any]] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    terminated: bool = False

    def see(self, frame: Frame, row: int) -> None:
        """Append what the agents of slot `row` see."""
        self.obs.append(frame.obs[row].copy())
        if frame.state is not None:
            self.state.append(frame.state[row].copy())
        if frame.legal is not None:
            self.legal.append(frame.legal[row].copy())


class Recorder:
    """Wraps a `VectorEnv`. `episodes` maps the seed of each finished episode to its tape; failed ones are dropped."""

    guards = True  # what the environment returns is checked before it is recorded

    def __init__(self, env: VectorEnv) -> None:
        self.env, self._guarded = env, guarded(env)
        self.spec: Spec = env.spec
        self.max_active = env.max_active
        self.episodes: dict[int, Tape] = {}
        self._open: dict[int, Tape] = {}

    @property
    def stop(self) -> Callable[[], bool]:
        """The `stop` of an `Interruptible` environment. For other environments it raises AttributeError."""
        inner: Any = self.env
        found: Callable[[], bool] = inner.stop
        return found

    @stop.setter
    def stop(self, value: Callable[[], bool]) -> None:
        """Set the `stop` of the environment."""
        inner: Any = self.env
        inner.stop = value

    @property
    def versions(self) -> dict[str, str]:
        """Versions of the environment's packages."""
        return self.env.versions

    def make(self, n_envs: int) -> None:
        """Make `n_envs` slots, and drop unfinished tapes."""
        self._guarded.make(n_envs)
        self._open = {}

    def reset(self, seeds: Sequence[int | None]) -> Frame:
        """Start episodes and their tapes."""
        frame = self._guarded.reset(seeds)
        for row, seed in enumerate(seeds):
            if seed is not None:
                self._open[row] = Tape(int(seed))
                self._open[row].see(frame, row)
        return frame

    def step(self, actions: NDArray[Any], active: NDArray[np.bool_]) -> Step:
        """Step, and record actions, rewards and observations."""
        result = self._guarded.step(actions, active)
        for row in np.flatnonzero(active).tolist():
            if result.fault[row]:
                del self._open[row]
                continue
            tape = self._open[row]
            tape.actions.append(actions[row].copy())
            tape.rewards.append(float(result.reward[row]))
            tape.see(result.frame, row)
            if result.terminated[row] or result.truncated[row]:
                tape.terminated = bool(result.terminated[row])
                self.episodes[tape.seed] = self._open.pop(row)
        return result

    def render(self, index: int = 0) -> NDArray[np.uint8]:
        """Return a picture of slot `index`."""
        return self.env.render(index)

    def close(self) -> None:
        """Release the environment."""
        self.env.close()
