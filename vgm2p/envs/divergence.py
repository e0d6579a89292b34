"""Divergence of MuJoCo's physics, for all adapters of robots."""

from __future__ import annotations

import functools
import sys
from typing import Any


def diverged(env: Any) -> bool:
    """Return whether MuJoCo found an invalid position, velocity or acceleration and has reset the robot silently.

    False for an environment that is no robot of MuJoCo.
    """
    mujoco = sys.modules.get("mujoco")
    robot = getattr(env, "single_agent_env", env)  # gymnasium-robotics holds one
    data = getattr(getattr(robot, "unwrapped", robot), "data", None)
    if mujoco is None or not isinstance(data, mujoco.MjData):
        return False
    return bool(data.warning.number[_bad_states()].any())


@functools.cache
def _bad_states() -> list[int]:
    from mujoco import mjtWarning  # the numbers of the warnings differ between releases

    return [int(getattr(mjtWarning, f"mjWARN_BAD{name}")) for name in ("QPOS", "QVEL", "QACC")]
