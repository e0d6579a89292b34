"""MA-MuJoCo as in the datasets: the agents share the actuators of one robot, and every agent sees the whole robot.

The robot's action is the concatenation of the agents' actions in agent order, as in OMIGA, OG-MARL and the recordings.
(gymnasium-robotics assigns actuators by joints, which is different for 2x4 Ant.) The robots are those of gymnasium:
`*-v5` for recordings, `*-v4` for omiga vaults.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgm2p.envs.base import Frame
from vgm2p.envs.copies import DIVERGED, Copies, Failure
from vgm2p.envs.divergence import diverged
from vgm2p.envs.observation import agents_view_numpy
from vgm2p.envs.render import choose_backend, import_mujoco
from vgm2p.envs.spaces import TeamActions, within
from vgm2p.errors import ConfigError, MissingInput, ServiceError
from vgm2p.io.files import require_file
from vgm2p.types import Spec

TRACKING = 1  # mjCAMERA_TRACKING
PLANE = 0  # mjGEOM_PLANE
CAMERA_DISTANCE = 4.0


class MAMuJoCo(Copies):
    """E robots that step together (implements `VectorEnv`).

    Actions are mapped linearly from [-1, 1] to the bounds of the actuators.

    Args:
        env_id: gymnasium id, for example `HalfCheetah-v5`.
        n_agents: number of agents N; the number of actuators must be a multiple of it.
        view: `raw_onehot` or `omiga`.
        env_kwargs: arguments of `gymnasium.make`.
        episode_limit: number of steps after which an episode is truncated.
        obs_width: null, or the width to which the robot's observation is padded with zeros (omiga's Ant: 111, because
            its contact forces were always zero).

    Raises:
        MissingInput: if gymnasium or mujoco is not installed.
        ConfigError: for an unknown id, if the agents cannot share the actuators equally, or if those have no bounds.
    """

    discrete = False
    packages = ("gymnasium", "mujoco")  # mujoco 3.5 changed contacts

    def __init__(
        self,
        env_id: str,
        n_agents: int,
        view: str,
        env_kwargs: dict[str, Any] | None = None,
        episode_limit: int = 1000,
        obs_width: int | None = None,
    ) -> None:
        super().__init__()
        self._id, self._kwargs = env_id, dict(env_kwargs or {})
        robot = self._new()
        self._copies.append(robot)
        TeamActions([robot.action_space], ["the robot"])  # refuses one without bounds
        actuators = robot.action_space.shape[0]
        if n_agents < 1 or actuators % n_agents:
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

    def render(self, index: int = 0) -> NDArray[np.uint8]:
        """Draw robot `index` without a display. Raises ServiceError if neither EGL nor OSMesa works."""
        from gymnasium.envs.mujoco.mujoco_rendering import OffScreenViewer

        robot = self._copies[index]
        if self._viewer is None:
            choose_backend()
            try:
                self._viewer = OffScreenViewer(robot.model, robot.data, width=480, height=360)
            except Exception as error:  # OpenGL raises many types of errors
                detail = " ".join(str(error).split())[:60]
                raise ServiceError(
                    f"MuJoCo cannot draw here ({detail}); install libegl1 or libosmesa6, or remove video=true"
                ) from error
            self._viewer.cam.type, self._viewer.cam.trackbodyid = TRACKING, 1  # follow the torso
            self._viewer.cam.distance = CAMERA_DISTANCE
        with _endless_floor(robot.model):
            return np.asarray(self._viewer.render("rgb_array"))

    def close(self) -> None:
        """Release the robots."""
        if self._viewer is not None:
            self._viewer.close()
            self._viewer = None
        super().close()

    def _new(self) -> Any:
        return make_robot(self._id, self._kwargs)

    def _allocate(self) -> None:
        super()._allocate()
        assert self.spec.state_dim is not None
        self._state = np.zeros((len(self._copies), self.spec.state_dim))

    def _begin(self, e: int, seed: int) -> None:
        observation, _ = self._copies[e].reset(seed=seed)
        self._place(e, observation)

    def _step(self, e: int, actions: NDArray[Any]) -> tuple[float, bool, bool]:
        joint = within(self._copies[e].action_space, actions).astype(np.float64)
        observation, reward, terminated, _, _ = self._copies[e].step(joint)
        if diverged(self._copies[e]) or not (np.isfinite(observation).all() and np.isfinite(reward)):
            raise Failure(DIVERGED)
        self._place(e, observation)
        self._steps[e] += 1
        return float(reward), terminated, not terminated and self._steps[e] >= self.spec.episode_limit

    def _place(self, e: int, observation: NDArray[Any]) -> None:
        self._state[e, : len(observation)] = observation

    def _frame(self) -> Frame:
        # first to float32: the datasets store the robot's observation in float32 and build the views from it
        state = self._state.astype(np.float32)
        return Frame(agents_view_numpy(state, self.spec.n_agents, self.spec.view), None, state)


@contextmanager
def _endless_floor(model: Any) -> Iterator[None]:
    """While the context lasts, planes are drawn without end: a robot runs off the 80 m that gymnasium's models draw.

    MuJoCo uses the sizes of a plane for drawing alone. They are put back all the same.
    """
    planes, sizes = model.geom_type == PLANE, model.geom_size.copy()
    model.geom_size[planes, :2] = 0.0
    try:
        yield
    finally:
        model.geom_size[:] = sizes


def make_robot(env_id: str, kwargs: dict[str, Any]) -> Any:
    """Return a gymnasium robot without wrappers. Raises as `MAMuJoCo`."""
    try:
        import gymnasium
    except ImportError as error:
        raise MissingInput("package gymnasium is missing; run `pip install 'gymnasium[mujoco]'`") from error
    if os.path.exists(model := str(kwargs.get("xml_file", ""))):
        require_file(Path(model), "no such model of a robot")
    import_mujoco()
    level = gymnasium.logger.min_level
    gymnasium.logger.min_level = gymnasium.logger.ERROR  # no "out of date" warnings: the data need the v4 robots
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return gymnasium.make(env_id, disable_env_checker=True, **kwargs).unwrapped
    except gymnasium.error.DependencyNotInstalled as error:
        raise MissingInput("package mujoco is missing; run `pip install 'gymnasium[mujoco]'`") from error
    except (gymnasium.error.Error, TypeError) as error:
        detail = " ".join(str(error).split())[:110]
        raise ConfigError(f"env.env_id={env_id} with env.env_kwargs={kwargs}: {detail}") from error
    finally:
        gymnasium.logger.min_level = level
