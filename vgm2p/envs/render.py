"""Headless drawing: which OpenGL backend works, found in a process of its own."""

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
    """Set MUJOCO_GL to the first backend that draws and return it; a value set by the user is taken as it is.

    The probe runs in a child: a backend that fails can end the process, and the choice binds at mujoco's first import
    of OpenGL.

    Raises:
        ServiceError: if none works.
    """
    chosen = os.environ.get("MUJOCO_GL")
    if chosen:
        return chosen
    for backend in BACKENDS:
        if draws(backend):
            os.environ["MUJOCO_GL"] = backend
            return backend
    raise ServiceError(
        "this machine cannot draw MuJoCo without a display; install libegl1 or libosmesa6, or drop video=true"
    )


def draws(backend: str) -> bool:
    """Whether a child process can draw one picture with `backend`."""
    environment = {**os.environ, "MUJOCO_GL": backend}
    try:
        done = subprocess.run(
            [sys.executable, "-c", PROBE], env=environment, capture_output=True, text=True, timeout=60
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0 and "drawn" in done.stdout
