"""An environment that remembers: whole episodes, final observations kept, whatever policy acts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgm2p.envs.base import Frame, Step, VectorEnv
from vgm2p.types import Spec


@dataclass
class Tape:
    """One episode of L steps: frames of L + 1 rows, actions and rewards of L.

    Attributes:
        seed: of the environment's reset.
        obs: (N, O) per row; state (D,) and legal (N, A) per row where the environment has them.
        actions: (N, A) or (N,) per step.
        rewards: team reward per step.
        terminated: whether the task ended it; otherwise the step limit did.
    """

    seed: int
    obs: list[NDArray[Any]] = field(default_factory=list)
    state: list[NDArray[Any]] = field(default_factory=list)
    legal: list[NDArray[Any]] = field(default_factory=list)
    actions: list[NDArray[Any]] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    terminated: bool = False

    def see(self, frame: Frame, row: int) -> None:
        """Add what the agents of slot `row` see."""
        self.obs.append(frame.obs[row].copy())
        if frame.state is not None:
            self.state.append(frame.state[row].copy())
        if frame.legal is not None:
            self.legal.append(frame.legal[row].copy())


class Recorder:
    """Wraps a `VectorEnv`; finished episodes lie in `episodes` by their seed, failed ones are forgotten."""

    def __init__(self, env: VectorEnv) -> None:
        self.env = env
        self.spec: Spec = env.spec
        self.max_active = env.max_active
        self.episodes: dict[int, Tape] = {}
        self._open: dict[int, Tape] = {}

    @property
    def stop(self) -> Callable[[], bool]:
        """That of an `Interruptible` environment; others have none, and neither has their recorder."""
        inner: Any = self.env
        found: Callable[[], bool] = inner.stop
        return found

    @stop.setter
    def stop(self, value: Callable[[], bool]) -> None:
        """Set it."""
        inner: Any = self.env
        inner.stop = value

    @property
    def versions(self) -> dict[str, str]:
        """Those of the environment."""
        return self.env.versions

    def make(self, n_envs: int) -> None:
        """Have `n_envs` slots."""
        self.env.make(n_envs)
        self._open = {}

    def reset(self, seeds: Sequence[int | None]) -> Frame:
        """Start episodes, and their tapes."""
        frame = self.env.reset(seeds)
        for row, seed in enumerate(seeds):
            if seed is not None:
                self._open[row] = Tape(int(seed))
                self._open[row].see(frame, row)
        return frame

    def step(self, actions: NDArray[Any], active: NDArray[np.bool_]) -> Step:
        """Step, and write down what was done, paid and seen."""
        result = self.env.step(actions, active)
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
