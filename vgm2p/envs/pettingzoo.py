"""Any parallel environment of PettingZoo, or a module of your own with a function `parallel_env` as theirs have."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vgm2p.envs.base import Frame
from vgm2p.envs.copies import DIVERGED, Copies, Failure
from vgm2p.envs.divergence import diverged
from vgm2p.envs.spaces import TeamActions, vector_width
from vgm2p.errors import ConfigError, MissingInput, ServiceError
from vgm2p.types import Spec

MASK = "action_mask"  # legal actions of an agent, in its info or its observation, as in PettingZoo's documentation


class PettingZoo(Copies):
    """E copies of a parallel environment that step together (implements `VectorEnv`).

    The team are `possible_agents`, in their order. Shorter observations are padded with zeros at the end, to the width
    of the longest. An agent that has left, or has not joined yet, sees zeros, and its only legal action is 0; what it
    does is not used. An episode ends when no agent is left. It is truncated if one of the last agents is and has
    not terminated, or at `episode_limit`; else it terminated.

    Args:
        module: module with a function `parallel_env`, for example `pettingzoo.butterfly.pistonball_v6`.
        episode_limit: number of steps after which an episode is truncated. The environment may not cut one earlier.
        view: `native`.
        env_kwargs: arguments of `parallel_env`.
        reward: team reward of a step: `mean` or `sum` of the rewards of the agents that acted.

    Raises:
        MissingInput: if PettingZoo, or a package that the module needs, is not installed.
        ConfigError: if there is no such module, or its spaces are not supported (see `spaces.py`).
    """

    def __init__(
        self,
        module: str,
        episode_limit: int,
        view: str = "native",
        env_kwargs: dict[str, Any] | None = None,
        reward: Literal["mean", "sum"] = "mean",
    ) -> None:
        if view != "native":
            raise ConfigError(f"data.view={view} does not exist for {module}; use data.view=native")
        super().__init__()
        self._module, self._kwargs, self._reward = module, dict(env_kwargs or {}), reward
        self.packages = ("pettingzoo", module.partition(".")[0])
        first = self._new()
        self._copies.append(first)
        observations, _ = first.reset(seed=0)
        self._agents: list[Any] = list(getattr(first, "possible_agents", ()))
        if not self._agents or not set(observations) <= set(self._agents):
            raise ConfigError(f"env.module={module}: its teams differ between episodes; it needs fixed possible_agents")
        self._actions = TeamActions([first.action_space(agent) for agent in self._agents], list(map(str, self._agents)))
        seen = [self._observed(first.observation_space(agent)) for agent in self._agents]
        widths = [
            vector_width(space, f"the observation of {agent}") for agent, space in zip(self._agents, seen, strict=True)
        ]
        self._widths = widths
        state = self._state_of(first)
        self.spec = Spec(
            n_agents=len(self._agents),
            obs_dim=max(widths),
            action_dim=self._actions.width,
            discrete=self._actions.discrete,
            state_dim=None if state is None else len(state),
            episode_limit=episode_limit,
            view=view,
            env_id=module,
            env_kwargs=self._kwargs if reward == "mean" else {**self._kwargs, "reward": reward},
        )
        self._allocate()

    def render(self, index: int = 0) -> NDArray[np.uint8]:
        """Return the picture that the environment draws. Raises ServiceError if it draws none."""
        try:
            picture = self._copies[index].render()
        except Exception as error:  # a simulator may raise anything
            detail = " ".join(str(error).split())[:60]
            raise ServiceError(f"{self._module} cannot draw here ({detail}); remove video=true") from error
        if picture is None or np.ndim(picture) != 3:
            raise ServiceError(f"{self._module} draws no pictures (render_mode='rgb_array'); remove video=true")
        return np.asarray(picture, np.uint8)[..., :3]

    def _new(self) -> Any:
        return make_parallel(self._module, self._kwargs)

    def _allocate(self) -> None:
        super()._allocate()
        spec, count = self.spec, len(self._copies)
        self._obs = np.zeros((count, spec.n_agents, spec.obs_dim), np.float32)
        self._legal = np.ones((count, spec.n_agents, spec.action_dim), bool) if spec.discrete else None
        self._state = None if spec.state_dim is None else np.zeros((count, spec.state_dim), np.float32)

    def _begin(self, e: int, seed: int) -> None:
        env = self._copies[e]
        observations, infos = env.reset(seed=seed)
        self._place(e, observations, infos, env.agents)

    def _step(self, e: int, actions: NDArray[Any]) -> tuple[float, bool, bool]:
        env = self._copies[e]
        acting = {
            agent: self._actions.to_env(i, actions[i]) for i, agent in enumerate(self._agents) if agent in env.agents
        }
        observations, rewards, ends, cuts, infos = env.step(acting)
        if diverged(env):
            raise Failure(DIVERGED)
        self._steps[e] += 1
        over = not env.agents or all(ends.get(agent) or cuts.get(agent) for agent in acting)
        self._place(e, observations, infos, list(acting) if over else env.agents)
        given = [float(rewards[agent]) for agent in acting if agent in rewards]  # some also pay agents that have left
        total = sum(given) / (max(1, len(given)) if self._reward == "mean" else 1)
        if not np.isfinite(total) or not np.isfinite(self._obs[e]).all():
            raise Failure("an observation or a reward is not finite")
        cut = over and any(cuts.get(agent) and not ends.get(agent) for agent in acting)
        last = self._steps[e] >= self.spec.episode_limit
        if cut and not last:
            raise ConfigError(
                f"{self._module} cut an episode after {self._steps[e]} steps, before env.episode_limit="
                f"{self.spec.episode_limit}; set env.episode_limit={self._steps[e]}, or change env.env_kwargs"
            )
        return total, over and not cut, cut or (last and not over)

    def _place(self, e: int, observations: Mapping[Any, Any], infos: Mapping[Any, Any], agents: Sequence[Any]) -> None:
        """Write what `agents` see; the others see zeros, and only action 0 is legal for them."""
        self._obs[e] = 0.0
        for i, agent in enumerate(self._agents):
            here = agent in agents and agent in observations
            seen = observations[agent] if here else None
            mask = seen.get(MASK) if isinstance(seen, Mapping) else None
            if here:
                vector = np.asarray(seen["observation"] if isinstance(seen, Mapping) else seen, np.float32).reshape(-1)
                if len(vector) != self._widths[i]:
                    raise ConfigError(
                        f"{self._module}: agent {agent} sees {len(vector)} numbers, its observation_space has "
                        f"{self._widths[i]}; correct one of them"
                    )
                self._obs[e, i, : len(vector)] = vector
            if self._legal is None:
                continue
            mask = (infos.get(agent) or {}).get(MASK) if mask is None else mask
            self._legal[e, i] = self._actions.legal(i, mask) if here else np.arange(self._actions.width) == 0
            if not self._legal[e, i].any():
                raise ConfigError(f"{self._module}: agent {agent} has no legal action; correct its {MASK}")
        if self._state is not None:
            self._state[e] = self._state_of(self._copies[e])

    def _frame(self) -> Frame:
        legal, state = self._legal, self._state
        return Frame(self._obs.copy(), None if legal is None else legal.copy(), None if state is None else state.copy())

    @staticmethod
    def _observed(space: Any) -> Any:
        """Return the space of the vector that an agent sees, also if an action mask stands beside it."""
        from gymnasium.spaces import Dict

        return space["observation"] if isinstance(space, Dict) and set(space) == {"observation", MASK} else space

    @staticmethod
    def _state_of(env: Any) -> NDArray[np.float32] | None:
        """Return the global state (D,), or None if the environment has none, or a picture."""
        try:
            found = np.asarray(env.state(), np.float32)
        except (NotImplementedError, AttributeError):
            return None
        return found.reshape(-1) if found.ndim <= 2 else None


def make_parallel(module: str, kwargs: Mapping[str, Any]) -> Any:
    """Return a parallel environment that can draw pictures, if it has them. Raises as `PettingZoo`."""
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame draws without a display
    if importlib.util.find_spec("pettingzoo") is None:
        raise MissingInput("package pettingzoo is missing; run `pip install pettingzoo`")
    try:
        maker = _located(module).parallel_env
    except ModuleNotFoundError as error:
        if error.name is None or f"{module}.".startswith(f"{error.name}."):
            raise ConfigError(f"env.module={module}: no module '{error.name}' here or installed") from error
        raise MissingInput(
            f"env.module={module} needs the package {error.name}, which is missing; install it"
        ) from error
    except AttributeError as error:
        raise ConfigError(
            f"env.module={module} has no function parallel_env; only parallel environments work"
        ) from error
    except Exception as error:  # a user's module may raise anything
        detail = " ".join(str(error).split())[:100]
        raise ConfigError(f"env.module={module} cannot be imported ({type(error).__name__}: {detail})") from error
    failure: Exception | None = None
    for drawing in ({"render_mode": "rgb_array"}, {}):  # not every environment knows this argument
        try:
            return maker(**{**drawing, **kwargs})
        except Exception as error:  # likewise
            failure = error
    detail = " ".join(str(failure).split())[:90]
    raise ConfigError(f"env.module={module} with env.env_kwargs={dict(kwargs)}: {detail}") from failure


def _located(module: str) -> Any:
    """Return a module. Some packages offer one under a shorter name, as an attribute. Raises as an import does."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package, _, name = module.rpartition(".")
        if error.name != module or not package or not hasattr(importlib.import_module(package), name):
            raise
        return getattr(importlib.import_module(package), name)
