"""Any environment of gymnasium as a task of a team: the agents share the action of its one agent.

It is made with `gymnasium.make_vec`, so environments that exist only as vector environments work, too. A slot is a
vector environment of one copy: slots start, end and wait independently, which a vector environment does not promise.
"""

from __future__ import annotations

import os
import sys
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgm2p.envs.base import Frame
from vgm2p.envs.copies import DIVERGED, Copies, Failure
from vgm2p.envs.divergence import diverged
from vgm2p.envs.observation import VIEWS, agents_view_numpy
from vgm2p.envs.render import choose_backend, import_mujoco
from vgm2p.envs.spaces import TeamActions, vector_width, within
from vgm2p.envs.team import team_of
from vgm2p.errors import ConfigError, MissingInput, ServiceError
from vgm2p.types import Spec


class GymnasiumTeam(Copies):
    """E vector environments of one copy that step together (implements `VectorEnv`).

    Actions of a Box are mapped linearly from [-1, 1] to its bounds. A `MultiDiscrete` space gives every agent one
    index; all are legal. The state is the whole observation.

    Args:
        env_id: id that gymnasium knows, for example `HalfCheetah-v5`.
        agents: number of agents; None: as many as `action_split` has lists.
        action_split: for each agent, its entries of the action, such as [[0, 1], [2, 3]]. None: equal parts, in order.
        observation_split: for each agent, its entries of the observation, padded with zeros to the longest (view
            `native`). None: every agent sees all of it (`raw_onehot`, `omiga`; `native`: without a one-hot).
        view: `raw_onehot`, `omiga` or `native`.
        env_kwargs: arguments of the environment.
        episode_limit: number of steps after which an episode is truncated; None: the limit that is registered for the
            id. The environment may not cut an episode earlier.

    Raises:
        MissingInput: if gymnasium, or a package that the environment needs, is not installed.
        ConfigError: for an unknown id, for spaces that are not supported, or if the team does not fit them.
    """

    packages = ("gymnasium", "mujoco")

    def __init__(
        self,
        env_id: str,
        agents: int | None = None,
        action_split: list[Any] | None = None,
        observation_split: list[Any] | None = None,
        view: str = "native",
        env_kwargs: dict[str, Any] | None = None,
        episode_limit: int | None = None,
    ) -> None:
        from gymnasium.spaces import Discrete, MultiDiscrete

        self._id, self._kwargs = env_id, dict(env_kwargs or {})
        self._copies = [make_vector(env_id, self._kwargs)]
        first = self._copies[0]
        width = vector_width(first.single_observation_space, "the observation")
        space = self._space = first.single_action_space
        self._single = isinstance(space, Discrete)  # one agent with one index
        counts = [space] if self._single else []
        if isinstance(space, MultiDiscrete):
            counts = [Discrete(int(n), start=int(start)) for n, start in zip(space.nvec, space.start, strict=True)]
        actions = len(counts) if counts else vector_width(space, "the action")
        self._team = team_of(agents, action_split, observation_split, actions, width)
        if counts and len(self._team.actions[0]) > 1:
            raise ConfigError(
                f"{env_id} has {actions} discrete actions; each agent needs exactly one: agents={actions}"
            )
        names = [f"agent {agent}" for agent in range(self._team.n_agents)]
        self._indices = TeamActions([counts[each[0]] for each in self._team.actions], names) if counts else None
        if not counts:
            TeamActions([space], ["the environment"])  # refuses a Box without bounds
        native = self._team.observations is not None
        if (native and view != "native") or view not in (*VIEWS, "native"):
            raise ConfigError(f"data.view={view} does not exist for {env_id} with this split; use data.view=native")
        seen = max(map(len, self._team.observations)) if self._team.observations is not None else width
        self.spec = Spec(
            n_agents=self._team.n_agents,
            obs_dim=seen + (0 if view == "native" else self._team.n_agents),
            action_dim=self._indices.width if self._indices else actions // self._team.n_agents,
            discrete=bool(counts),
            state_dim=width,
            episode_limit=self._limit(episode_limit),
            view=view,
            env_id=env_id,
            env_kwargs={**self._kwargs, **self._team.arguments(width)},
        )
        self._allocate()

    def render(self, index: int = 0) -> NDArray[np.uint8]:
        """Return the picture that the environment draws. Raises ServiceError if it draws none."""
        try:
            if self._copies[index].spec and "mujoco" in str(self._copies[index].spec.entry_point):
                choose_backend()
            pictures = self._copies[index].render()
        except ServiceError:
            raise
        except Exception as error:  # a simulator may raise anything
            detail = " ".join(str(error).split())[:60]
            raise ServiceError(f"{self._id} cannot draw here ({detail}); remove video=true") from error
        if not pictures or pictures[0] is None:
            raise ServiceError(f"{self._id} draws no pictures (render_mode='rgb_array'); remove video=true")
        return np.asarray(pictures[0], np.uint8)

    def _limit(self, given: int | None) -> int:
        limit = given or getattr(self._copies[0].spec, "max_episode_steps", None)
        if limit is None:
            raise ConfigError(f"{self._id} has no step limit; give env.episode_limit=<steps>")
        return int(limit)

    def _allocate(self) -> None:
        super()._allocate()
        assert self.spec.state_dim is not None
        self._state = np.zeros((len(self._copies), self.spec.state_dim), np.float32)

    def _new(self) -> Any:
        return make_vector(self._id, self._kwargs)

    def _begin(self, e: int, seed: int) -> None:
        observation, _ = self._copies[e].reset(seed=seed)
        self._state[e] = np.asarray(observation[0]).reshape(-1)

    def _step(self, e: int, actions: NDArray[Any]) -> tuple[float, bool, bool]:
        observation, rewards, ends, cuts, infos = self._copies[e].step(self._joint(actions))
        if any(map(diverged, getattr(self._copies[e].unwrapped, "envs", ()))):
            raise Failure(DIVERGED)
        self._steps[e] += 1
        over = bool(ends[0] or cuts[0])
        final = infos.get("final_obs") if over else None  # where the slot has begun its next episode already
        seen = np.asarray(observation[0] if final is None else final[0], np.float32).reshape(-1)
        if not (np.isfinite(seen).all() and np.isfinite(rewards[0])):
            raise Failure("an observation or a reward is not finite")
        self._state[e] = seen
        last = self._steps[e] >= self.spec.episode_limit
        if cuts[0] and not ends[0] and not last:
            raise ConfigError(
                f"{self._id} cut an episode after {self._steps[e]} steps, before env.episode_limit="
                f"{self.spec.episode_limit}; set env.episode_limit={self._steps[e]}"
            )
        return float(rewards[0]), bool(ends[0]), bool(last and not ends[0])

    def _joint(self, actions: NDArray[Any]) -> NDArray[Any]:
        """Return the joint action of one slot, with the axis of the slots in front."""
        if self._indices is None:
            return within(self._space, self._team.join_actions(actions))[None]
        indices = np.array([self._indices.to_env(agent, action) for agent, action in enumerate(actions)])
        joint = self._team.join_actions(indices[:, None])
        return joint if self._single else joint[None]

    def _frame(self) -> Frame:
        state, spec = self._state.copy(), self.spec
        if self._team.observations is not None:
            seen = self._team.observe(state)
        elif spec.view == "native":
            seen = np.repeat(state[:, None], spec.n_agents, 1)
        else:
            seen = agents_view_numpy(state, spec.n_agents, spec.view)
        if self._indices is None:
            return Frame(seen, None, state)
        legal = np.stack([self._indices.legal(agent) for agent in range(spec.n_agents)])
        return Frame(seen, np.repeat(legal[None], len(state), 0), state)


def make_vector(env_id: str, kwargs: dict[str, Any]) -> Any:
    """Return a vector environment of one copy that can draw pictures, if it has them. Raises as `GymnasiumTeam`."""
    try:
        import gymnasium
    except ImportError as error:
        raise MissingInput("package gymnasium is missing; run `pip install gymnasium`") from error
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame draws without a display
    failure: Exception | None = None
    for drawing in ({"render_mode": "rgb_array"}, {}):  # not every environment knows this argument
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made = gymnasium.make_vec(env_id, num_envs=1, **{**drawing, **kwargs})
            if "mujoco" in sys.modules:
                import_mujoco()  # silences it
            return made
        except gymnasium.error.DependencyNotInstalled as error:
            detail = " ".join(str(error).split())[:120]
            raise MissingInput(f"env.env_id={env_id}: {detail}") from error
        except Exception as error:  # an environment may raise anything
            failure = error
    detail = " ".join(str(failure).split())[:90]
    raise ConfigError(f"env.env_id={env_id} with env.env_kwargs={kwargs}: {detail}") from failure
