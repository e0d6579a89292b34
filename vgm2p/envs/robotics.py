"""MA-MuJoCo of gymnasium-robotics: each agent has some joints of the robot and sees only joints near them.

It is for OG-MARL's `gymnasium_mamujoco` vaults, and for any robot and split of this package. Observations of different
widths are padded with zeros at the end, as in OG-MARL.
"""

from __future__ import annotations

import contextlib
import io
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgm2p.envs.base import Frame
from vgm2p.envs.copies import DIVERGED, Copies, Failure
from vgm2p.envs.divergence import diverged
from vgm2p.envs.render import import_mujoco
from vgm2p.envs.spaces import within
from vgm2p.envs.team import Team, team_of
from vgm2p.errors import ConfigError, MissingInput, ServiceError
from vgm2p.types import Spec


class RoboticsMAMuJoCo(Copies):
    """E tasks of `gymnasium_robotics.mamujoco_v1` that step together (implements `VectorEnv`).

    Actions are mapped linearly from [-1, 1] to the bounds of the actuators.

    Args:
        scenario: robot, for example `HalfCheetah`.
        agent_conf: how the joints are split among the agents, for example `6x1`.
        agent_obsk: an agent sees joints up to this distance (default of the package: 1).
        view: `native`.
        env_kwargs: further arguments of the robot that do not change the width of its observation.
        episode_limit: number of steps after which an episode is truncated.

    Raises:
        MissingInput: if gymnasium-robotics is not installed.
        ConfigError: for an unknown robot, split or view.
    """

    discrete = False
    draws = False
    packages = ("gymnasium-robotics", "gymnasium", "mujoco")

    def __init__(
        self,
        scenario: str,
        agent_conf: str,
        agent_obsk: int = 1,
        view: str = "native",
        env_kwargs: dict[str, Any] | None = None,
        episode_limit: int = 1000,
    ) -> None:
        if view != "native":
            raise ConfigError(f"data.view={view} does not exist for {scenario} {agent_conf}; use data.view=native")
        super().__init__()
        self._arguments = {
            "scenario": scenario,
            "agent_conf": agent_conf,
            "agent_obsk": agent_obsk,
            **(env_kwargs or {}),
        }
        first = self._new()
        self._copies.append(first)
        self._agents: list[str] = list(first.possible_agents)
        widths = [first.action_space(agent).shape[0] for agent in self._agents]
        if len(set(widths)) > 1:
            raise ConfigError(
                f"{scenario} {agent_conf}: the agents have {widths} actuators; use a split with equal numbers"
            )
        first.reset(seed=0)
        self.spec = Spec(
            n_agents=len(self._agents),
            obs_dim=max(first.observation_space(agent).shape[0] for agent in self._agents),
            action_dim=widths[0],
            discrete=self.discrete,
            state_dim=len(first.state()),
            episode_limit=episode_limit,
            view=view,
            env_id=f"mamujoco_v1/{scenario}/{agent_conf}/obsk{agent_obsk}",
            env_kwargs=dict(env_kwargs or {}),
        )
        self._allocate()

    def render(self, index: int = 0) -> NDArray[np.uint8]:
        """Raise ServiceError: the package draws only in environments that were made for drawing."""
        raise ServiceError("env=robotics/... cannot draw pictures; remove video=true")

    def _new(self) -> Any:
        return make_parallel(self._arguments)

    def _allocate(self) -> None:
        super()._allocate()
        assert self.spec.state_dim is not None
        self._obs = np.zeros((len(self._copies), self.spec.n_agents, self.spec.obs_dim), np.float32)
        self._state = np.zeros((len(self._copies), self.spec.state_dim), np.float32)

    def _begin(self, e: int, seed: int) -> None:
        observations, _ = self._copies[e].reset(seed=seed)
        self._place(e, observations)

    def _step(self, e: int, actions: NDArray[Any]) -> tuple[float, bool, bool]:
        spaces = [self._copies[e].action_space(agent) for agent in self._agents]
        acting = {agent: within(*each) for agent, *each in zip(self._agents, spaces, actions, strict=True)}
        observations, rewards, ends, _, _ = self._copies[e].step(acting)
        self._place(e, observations)
        reward, terminated = float(rewards[self._agents[0]]), bool(ends[self._agents[0]])
        if diverged(self._copies[e]) or not (np.isfinite(self._obs[e]).all() and np.isfinite(reward)):
            raise Failure(DIVERGED)
        self._steps[e] += 1
        return reward, terminated, not terminated and self._steps[e] >= self.spec.episode_limit

    def _place(self, e: int, observations: dict[str, NDArray[Any]]) -> None:
        for i, agent in enumerate(self._agents):
            self._obs[e, i, : len(observations[agent])] = observations[agent]
        self._state[e] = self._copies[e].state()

    def _frame(self) -> Frame:
        return Frame(self._obs.copy(), None, self._state.copy())


def make_parallel(arguments: dict[str, Any]) -> Any:
    """Return a `mamujoco_v1.parallel_env`. Text that the package prints at its import is discarded."""
    import_mujoco()
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            from gymnasium_robotics import mamujoco_v1
    except ImportError as error:
        raise MissingInput("package gymnasium-robotics is missing; run `pip install gymnasium-robotics`") from error
    try:
        return mamujoco_v1.parallel_env(**arguments)
    except Exception as error:  # the package raises Exception and KeyError for unknown robots and splits
        detail = " ".join(str(error).split())[:100]
        raise ConfigError(f"mamujoco_v1 refuses {arguments['scenario']} {arguments['agent_conf']}: {detail}") from error


def known_team(env_id: str) -> tuple[Team, int] | None:
    """Return the split of `mamujoco_v1/<robot>/<split>/obsk<distance>`, and the width of the robot's observation.

    Such a name is the `Spec.env_id` of `RoboticsMAMuJoCo`. None: it is another name. Raises as `RoboticsMAMuJoCo`.
    """
    found = re.fullmatch(r"mamujoco_v1/(\w+)/(\w+)/obsk(\d+)", env_id)
    if found is None:
        return None
    env = make_parallel({"scenario": found[1], "agent_conf": found[2], "agent_obsk": int(found[3])})
    env.reset(seed=0)
    width, actions = len(env.state()), env.single_agent_env.action_space.shape[0]
    # the mappings of the package, applied to the numbers of the entries, give the entries of each agent
    own = env.map_global_action_to_local_actions(np.arange(actions))
    seen = env.map_global_state_to_local_observations(np.arange(width))
    lists = [[[int(entry) for entry in each[agent]] for agent in env.possible_agents] for each in (own, seen)]
    env.close()
    return team_of(None, lists[0], lists[1], actions, width), width
