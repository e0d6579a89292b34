"""MA-MuJoCo as the datasets have it: one robot, its actuators dealt to agents in order, every agent sees all of it.

The flat action is the agents' actions concatenated in agent order (OMIGA, OG-MARL and the recordings do this;
gymnasium-robotics deals by joints, which differs for 2x4 Ant). Robots come from gymnasium,
`*-v5` for recordings and `*-v4` for omiga vaults.
"""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgm2p.envs.base import Frame, Step
from vgm2p.envs.observation import agents_view_numpy
from vgm2p.envs.render import choose_backend
from vgm2p.errors import ConfigError, MissingInput, ServiceError
from vgm2p.types import Spec

TRACKING = 1  # mjCAMERA_TRACKING
CAMERA_DISTANCE = 4.0


class MAMuJoCo:
    """E robots in lockstep (implements `VectorEnv`).

    Args:
        env_id: gymnasium id, for example `HalfCheetah-v5`.
        n_agents: N; the robot's actuators must divide by it.
        view: `raw_onehot` or `omiga`.
        env_kwargs: arguments of `gymnasium.make`.
        episode_limit: steps until an episode is truncated.
        obs_width: null, or the width to which zeros pad the robot's observation (omiga's Ant: 111, its contact forces
            were always zero).

    Raises:
        MissingInput: if gymnasium or mujoco is not installed.
        ConfigError: on an unknown id, or actuators that the agents cannot share.
    """

    discrete = False
    max_active: int | None = None

    def __init__(
        self,
        env_id: str,
        n_agents: int,
        view: str,
        env_kwargs: dict[str, Any] | None = None,
        episode_limit: int = 1000,
        obs_width: int | None = None,
    ) -> None:
        self._id, self._kwargs, self._width = env_id, dict(env_kwargs or {}), obs_width
        self._robots = [make_robot(env_id, self._kwargs)]
        robot = self._robots[0]
        actuators = robot.action_space.shape[0]
        if actuators % n_agents:
            raise ConfigError(f"env.n_agents={n_agents} cannot share the {actuators} actuators of {env_id} equally")
        width = obs_width or robot.observation_space.shape[0]
        self.spec = Spec(
            n_agents=n_agents,
            obs_dim=width + n_agents,
            action_dim=actuators // n_agents,
            discrete=self.discrete,
            state_dim=width,
            episode_limit=episode_limit,
            view=view,
            env_id=env_id,
            env_kwargs=self._kwargs,
        )
        self._viewer: Any = None
        self._allocate()

    @property
    def versions(self) -> dict[str, str]:
        """Versions that decide the physics (mujoco 3.5 changed contacts)."""
        return {name: version(name) for name in ("gymnasium", "mujoco")}

    def make(self, n_envs: int) -> None:
        """Have `n_envs` robots."""
        while len(self._robots) < n_envs:
            self._robots.append(make_robot(self._id, self._kwargs))
        for robot in self._robots[n_envs:]:
            robot.close()
        self._robots = self._robots[:n_envs]
        self._allocate()

    def reset(self, seeds: Sequence[int | None]) -> Frame:
        """Reset the robots whose seed is given."""
        for e, seed in enumerate(seeds):
            if seed is not None:
                observation, _ = self._robots[e].reset(seed=int(seed))
                self._place(e, observation)
                self._steps[e] = 0
        return self._frame()

    def step(self, actions: NDArray[Any], active: NDArray[np.bool_]) -> Step:
        """Step active robots with actions (E, N, A), clipped to [-1, 1]; a robot that breaks is a fault of its row."""
        joint = np.clip(actions.reshape(len(self._robots), -1), -1.0, 1.0).astype(np.float64)
        reward = np.zeros(len(self._robots))
        terminated, truncated, fault = (np.zeros(len(self._robots), bool) for _ in range(3))
        cause = np.full(len(self._robots), "", object)
        for e in np.flatnonzero(active).tolist():
            try:
                observation, reward[e], terminated[e], _, _ = self._robots[e].step(joint[e])
            except Exception as error:  # any failure of a simulator means that the episode must be repeated
                fault[e], cause[e] = True, f"{type(error).__name__}: {error}"
                continue
            if _diverged(self._robots[e]) or not (np.isfinite(observation).all() and np.isfinite(reward[e])):
                fault[e], cause[e], reward[e] = True, "the physics diverged", 0.0
                continue
            self._place(e, observation)
            self._steps[e] += 1
            truncated[e] = not terminated[e] and self._steps[e] >= self.spec.episode_limit
        return Step(self._frame(), reward, terminated & ~fault, truncated, fault, {"cause": cause})

    def render(self, index: int = 0) -> NDArray[np.uint8]:
        """Draw robot `index` without a display. Raises ServiceError where neither EGL nor OSMesa works."""
        from gymnasium.envs.mujoco.mujoco_rendering import OffScreenViewer

        choose_backend()
        robot = self._robots[index]
        if self._viewer is None:
            try:
                self._viewer = OffScreenViewer(robot.model, robot.data, width=480, height=360)
            except Exception as error:  # OpenGL raises many kinds
                detail = " ".join(str(error).split())[:60]
                raise ServiceError(
                    f"MuJoCo cannot draw here ({detail}); install libegl1 or libosmesa6, or drop video"
                ) from error
            self._viewer.cam.type, self._viewer.cam.trackbodyid = TRACKING, 1  # follow the torso
            self._viewer.cam.distance = CAMERA_DISTANCE
        return np.asarray(self._viewer.render("rgb_array"))

    def close(self) -> None:
        """Release the robots."""
        if self._viewer is not None:
            self._viewer.close()
            self._viewer = None
        for robot in self._robots:
            robot.close()

    def _allocate(self) -> None:
        assert self.spec.state_dim is not None
        self._state = np.zeros((len(self._robots), self.spec.state_dim))
        self._steps = np.zeros(len(self._robots), int)

    def _place(self, e: int, observation: NDArray[Any]) -> None:
        self._state[e, : len(observation)] = observation

    def _frame(self) -> Frame:
        # float32 first: the datasets store the robot's observation in float32 and build views from that
        state = self._state.astype(np.float32)
        return Frame(agents_view_numpy(state, self.spec.n_agents, self.spec.view), None, state)


def make_robot(env_id: str, kwargs: dict[str, Any]) -> Any:
    """Return a bare gymnasium robot: no time limit, checker or order wrapper. Raises as `MAMuJoCo` does."""
    try:
        import gymnasium
    except ImportError as error:
        raise MissingInput("package gymnasium is missing; run `pip install 'gymnasium[mujoco]'`") from error
    gymnasium.logger.min_level = gymnasium.logger.ERROR  # "out of date" notes on the v4 robots that the data need
    try:
        with warnings.catch_warnings(), _quiet_compiler():
            warnings.simplefilter("ignore")
            return gymnasium.make(env_id, disable_env_checker=True, **kwargs).unwrapped
    except gymnasium.error.DependencyNotInstalled as error:
        raise MissingInput("package mujoco is missing; run `pip install 'gymnasium[mujoco]'`") from error
    except (gymnasium.error.Error, TypeError) as error:
        detail = " ".join(str(error).split())[:110]
        raise ConfigError(f"env.env_id={env_id} with env_kwargs={kwargs}: {detail}") from error


@contextlib.contextmanager
def _quiet_compiler() -> Iterator[None]:
    """Silence MuJoCo's warnings about deprecated attributes of gymnasium's robots; they would also write a log file."""
    try:
        import mujoco
    except ImportError:  # gymnasium.make raises the clearer error
        yield
        return
    held = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda message: None)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(held)


def _diverged(robot: Any) -> bool:
    """Whether MuJoCo met a bad position, velocity or acceleration: it then resets the robot without an error."""
    return bool(robot.data.warning.number[_bad_states()].any())


@functools.cache
def _bad_states() -> list[int]:
    from mujoco import mjtWarning  # their numbers differ between releases

    return [int(getattr(mjtWarning, f"mjWARN_BAD{name}")) for name in ("QPOS", "QVEL", "QACC")]
