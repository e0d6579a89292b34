"""Checks what an environment returns, so that a mistake in it is named and never becomes a result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgm2p.envs.base import FIRST_SEED, TEXTS, Frame, Step, VectorEnv, name_of, require_task
from vgm2p.errors import RolloutStopped, ServiceError, UserError, out_of_memory
from vgm2p.io.text import plain
from vgm2p.run.folder import EPISODE_FIELDS
from vgm2p.types import Spec

NUMBERS, FLAGS = "fiu", "b"  # kinds of numpy dtypes
LARGEST = float(np.finfo(np.float32).max)  # of rewards, observations and other numbers: policies compute in float32
TAKEN = set(EPISODE_FIELDS) - {"won"}  # columns of episodes.csv that no entry of `Step.info` can have
CAUSE = 60  # largest number of characters of the error that an environment raised


class Guarded:
    """Wraps a `VectorEnv` (implements it). It raises a ServiceError that names environment, episode and step:

    - if the environment raises an error of its own,
    - if it returns something else than a `Frame` or a `Step`,
    - if a reward, an observation or a number of `Step.info` is NaN, infinite in float32, or has a wrong shape,
    - if the names of `Step.info` at the end of one episode are not those at the end of another.

    An episode that has not ended after `Spec.episode_limit` steps is truncated.

    Raises:
        ConfigError: if the environment has no step limit.
    """

    guards = True

    def __init__(self, env: VectorEnv) -> None:
        require_task(env)
        self.env = env
        self.spec: Spec = env.spec
        self.max_active = env.max_active
        self._numbers = np.zeros(0, int)
        self._steps = np.zeros(0, int)
        self._names: set[str] | None = None  # of `Step.info`, where the first episodes ended

    @property
    def versions(self) -> dict[str, str]:
        """Versions of the environment's packages."""
        return self.env.versions

    def make(self, n_envs: int) -> None:
        """Change the number of slots to `n_envs`."""
        with self._named("make"):
            self.env.make(n_envs)
        self._numbers, self._steps = np.zeros(n_envs, int), np.zeros(n_envs, int)

    def reset(self, seeds: Sequence[int | None]) -> Frame:
        """Start an episode in every slot whose seed is not None, and check the first observations."""
        begun = np.array([seed is not None for seed in seeds])
        self._numbers[begun] = [seed - FIRST_SEED for seed in seeds if seed is not None]
        self._steps[begun] = 0
        with self._named("reset"):
            frame = self.env.reset(seeds)
        return self._checked(frame, begun)

    def step(self, actions: NDArray[Any], active: NDArray[np.bool_]) -> Step:
        """Step, and check the result. Truncate active episodes that have reached the step limit."""
        with self._named("step", active):
            result = self.env.step(actions, active)
        self._check_type(result, "step", Step)
        self._check_type(result.info, "info", Mapping)
        self._steps += active
        self._check_shape(result.reward, "reward", active.shape, NUMBERS)
        for part in ("terminated", "truncated", "fault"):
            self._check_shape(getattr(result, part), part, active.shape, FLAGS)
        played = active & ~result.fault
        self._check_finite(result.reward, "reward", played)
        frame = self._checked(result.frame, played)
        ended = result.terminated | result.truncated
        for name in result.info:
            self._check_info(name, result.info[name], active, played & ended)
        late = played & ~ended & (self._steps >= self.spec.episode_limit)
        if (played & ended | late).any():
            self._check_names(set(result.info) - set(TEXTS))
        return replace(result, frame=frame, truncated=result.truncated | late)

    def render(self, index: int = 0) -> NDArray[np.uint8]:
        """Return a picture of slot `index`."""
        with self._named("render"):
            return self.env.render(index)

    def close(self) -> None:
        """Release the environment."""
        self.env.close()

    @contextmanager
    def _named(self, call: str, active: NDArray[np.bool_] | None = None) -> Iterator[None]:
        """Turn an error that the environment raises into a ServiceError."""
        try:
            yield
        except (UserError, RolloutStopped):
            raise
        except Exception as error:  # a user's class may raise anything
            if out_of_memory(error):
                raise
            detail = f"{type(error).__name__}: {' '.join(str(error).split())}"[:CAUSE].removesuffix(": ")
            place = "" if active is None else f" {self._place(int(np.flatnonzero(active)[0]), 1)}"
            raise ServiceError(f"{name_of(self.env)}: {call} failed{place} with {detail}; {self._remedy}") from error

    @property
    def _remedy(self) -> str:
        return "run `vgm2p doctor`" if type(self.env).__module__.startswith("vgm2p.") else "mend this class"

    def _place(self, slot: int, ahead: int = 0) -> str:
        return f"at step {self._steps[slot] + ahead} of episode {self._numbers[slot]}"

    def _checked(self, frame: Frame, rows: NDArray[np.bool_]) -> Frame:
        """Return what the agents see, in float32.

        Raises ServiceError if it is no Frame, has a wrong shape, or is not finite in the slots `rows` (E,).
        """
        self._check_type(frame, "frame", Frame)
        spec, agents = self.spec, (len(rows), self.spec.n_agents)
        self._check_shape(frame.obs, "obs", (*agents, spec.obs_dim), NUMBERS)
        self._check_finite(frame.obs, "observation", rows)
        if frame.legal is not None:
            self._check_shape(frame.legal, "legal", (*agents, spec.action_dim), FLAGS)
        if frame.state is not None:
            width = np.shape(frame.state)[1:] if spec.state_dim is None else (spec.state_dim,)
            self._check_shape(frame.state, "state", (len(rows), *width), NUMBERS)
            self._check_finite(frame.state, "state", rows)
        return frame if frame.obs.dtype == np.float32 else replace(frame, obs=frame.obs.astype(np.float32))

    def _check_info(self, name: Any, given: Any, active: NDArray[np.bool_], ended: NDArray[np.bool_]) -> None:
        """Check an entry of `Step.info`. Numbers of the episodes in the slots `ended` become a column of a log."""
        if name in TAKEN or plain(name) != name:
            line = f"info '{plain(name)}' cannot be a column of episodes.csv; give it another name"
            raise ServiceError(f"{name_of(self.env)}: {line}")
        with self._named("step", active):
            values = np.asarray(given, object if name in TEXTS else float)
        if values.shape != active.shape:
            line = f"info '{name}' must have shape {active.shape}, got {values.shape}"
            raise ServiceError(f"{name_of(self.env)}: {line}; {self._remedy}")
        if name not in TEXTS:
            self._check_finite(values, f"info '{name}'", ended)

    def _check_names(self, names: set[str]) -> None:
        """Check that all episodes end with the same numbers: each is a column of a log."""
        self._names = names if self._names is None else self._names
        if other := sorted(self._names ^ names):
            line = f"info '{other[0]}' is given at the end of some episodes only; give the same names in every step"
            raise ServiceError(f"{name_of(self.env)}: {line}; {self._remedy}")

    def _check_type(self, found: Any, part: str, kind: type[Any]) -> None:
        if not isinstance(found, kind):
            what = f"{part} must be a {kind.__name__}, got {type(found).__name__}"
            raise ServiceError(f"{name_of(self.env)}: {what}; {self._remedy}")

    def _check_shape(self, array: Any, part: str, shape: tuple[int, ...], kinds: str) -> None:
        if isinstance(array, np.ndarray) and array.shape == shape and array.dtype.kind in kinds:
            return
        given = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        expected = f"a {'bool' if kinds == FLAGS else 'float'} array {shape}"
        raise ServiceError(f"{name_of(self.env)}: {part} must be {expected}, got {given}; {self._remedy}")

    def _check_finite(self, array: NDArray[Any], part: str, rows: NDArray[np.bool_]) -> None:
        good = np.abs(array) <= LARGEST  # False for NaN
        if good.all():
            return
        bad = rows & ~good.reshape(len(rows), -1).all(1)
        if bad.any():
            slot = int(np.flatnonzero(bad)[0])
            values = array[slot][~good[slot]] if array.ndim > 1 else array[slot : slot + 1]
            raise ServiceError(f"{name_of(self.env)}: {part} is {values[0]} {self._place(slot)}; {self._remedy}")


def guarded(env: VectorEnv) -> VectorEnv:
    """Return an environment whose results are checked: `env` itself if they are already."""
    return env if getattr(env, "guards", False) else Guarded(env)
