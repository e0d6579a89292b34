"""What environments share whose E copies step one after another."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgm2p.envs.base import Frame, Step
from vgm2p.errors import ConfigError
from vgm2p.types import Spec

DIVERGED = "the physics diverged"


class Failure(Exception):
    """The simulator failed in a step. The text is the cause of the fault."""


class Copies(ABC):
    """E copies of one environment (implements `VectorEnv` but for `render`).

    A subclass sets `spec`, puts its first copy into `_copies`, and calls `_allocate`.
    """

    max_active: int | None = None
    packages: tuple[str, ...] = ()  # those that determine the dynamics
    spec: Spec

    def __init__(self) -> None:
        self._copies: list[Any] = []

    @property
    def versions(self) -> dict[str, str]:
        """Versions of the packages that determine the dynamics, of those that are installed."""
        found = {}
        for name in self.packages:
            try:
                found[name] = version(name)
            except PackageNotFoundError:  # a module in the working folder
                continue
        return found

    def make(self, n_envs: int) -> None:
        """Change the number of copies to `n_envs`."""
        while len(self._copies) < n_envs:
            self._copies.append(self._new())
        for copy in self._copies[n_envs:]:
            copy.close()
        self._copies = self._copies[:n_envs]
        self._allocate()

    def reset(self, seeds: Sequence[int | None]) -> Frame:
        """Reset the copies whose seed is not None."""
        for e, seed in enumerate(seeds):
            if seed is not None:
                self._begin(e, int(seed))
                self._steps[e] = 0
        return self._frame()

    def step(self, actions: NDArray[Any], active: NDArray[np.bool_]) -> Step:
        """Step active copies with actions (E, N, A) in [-1, 1], or (E, N) indices. If one fails, its row has a fault.

        Raises:
            ConfigError: if the keys of the environment are wrong, such as `episode_limit`.
        """
        count = len(self._copies)
        reward, cause = np.zeros(count), np.full(count, "", object)
        terminated, truncated, fault = (np.zeros(count, bool) for _ in range(3))
        for e in np.flatnonzero(active).tolist():
            try:
                reward[e], terminated[e], truncated[e] = self._step(e, actions[e])
            except ConfigError:
                raise
            except Failure as error:
                fault[e], cause[e] = True, str(error)
            except Exception as error:  # after any failure of the simulator, the episode must be repeated
                fault[e], cause[e] = True, f"{type(error).__name__}: {error}"
        return Step(self._frame(), reward, terminated, truncated, fault, {"cause": cause})

    def close(self) -> None:
        """Release the copies."""
        while self._copies:
            self._copies.pop().close()

    def _allocate(self) -> None:
        """Make room for what the copies show. A subclass extends it."""
        self._steps = np.zeros(len(self._copies), int)

    @abstractmethod
    def _new(self) -> Any:
        """Return a copy."""

    @abstractmethod
    def _begin(self, e: int, seed: int) -> None:
        """Reset copy `e`, and keep what it shows."""

    @abstractmethod
    def _step(self, e: int, actions: NDArray[Any]) -> tuple[float, bool, bool]:
        """Step copy `e` with actions (N, A) or (N,), keep what it shows, and count the step.

        Returns:
            The team reward, and whether the episode terminated or was truncated.

        Raises:
            Failure: with the cause of a fault. Any other exception is a fault, too.
        """

    @abstractmethod
    def _frame(self) -> Frame:
        """Return what all copies show."""
