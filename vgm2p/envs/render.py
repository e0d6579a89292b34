"""Drawing without a display: finds an OpenGL backend that works."""

from __future__ import annotations

import os
import subprocess
import sys

from vgm2p.errors import ServiceError

BACKENDS = ("egl", "osmesa")
PROBE = """
import mujoco
mujoco.Renderer(mujoco.MjModel.from_xml_string('<mujoco/>'), 32, 32).render()
print('drawn')
"""


def choose_backend() -> str:
    """Set MUJOCO_GL to the first backend that works, and return it. A value that the user has set is kept.

    A child process tests the backend, because a backend that fails can end its process. Also, the choice is fixed once
    mujoco has imported OpenGL.

    Raises:
        ServiceError: if no backend works.
    """
    chosen = os.environ.get("MUJOCO_GL")
    if chosen:
        return chosen
    for backend in BACKENDS:
        if draws(backend):
            os.environ["MUJOCO_GL"] = backend
            return backend
    raise ServiceError(
        "this machine cannot draw MuJoCo without a display; install libegl1 or libosmesa6, or remove video=true"
    )


def draws(backend: str) -> bool:
    """Return whether a child process can draw a picture with `backend`."""
    environment = {**os.environ, "MUJOCO_GL": backend}
    try:
        done = subprocess.run(
            [sys.executable, "-c", PROBE], env=environment, capture_output=True, text=True, timeout=60
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0 and "drawn" in done.stdout
