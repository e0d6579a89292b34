"""MuJoCo's import, and drawing without a display: finds an OpenGL backend that works."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from typing import Any

from vgm2p.errors import MissingInput, ServiceError, out_of_memory
from vgm2p.io.text import say

GL, PLATFORM = "MUJOCO_GL", "PYOPENGL_PLATFORM"  # environment variables; mujoco derives the second from the first
BACKENDS = ("egl", "osmesa")
PROBE = """
import mujoco
mujoco.Renderer(mujoco.MjModel.from_xml_string('<mujoco/>'), 32, 32).render()
print('drawn')
"""
REFUSED: list[str] = []  # values of MUJOCO_GL that could not be loaded in this process


def import_mujoco() -> Any:
    """Import mujoco and return it. Its warnings are not printed, and write no MUJOCO_LOG.TXT.

    With a MUJOCO_GL that cannot be loaded, mujoco cannot be imported, even if nothing is drawn. Then the variable is
    removed for this process and its children, with a line that says so.

    Raises:
        MissingInput: if mujoco is not installed.
    """
    try:
        mujoco = _imported()
    except ImportError as error:
        if not os.environ.get(GL):
            raise MissingInput("package mujoco is missing; run `pip install 'gymnasium[mujoco]'`") from error
        mujoco = _without_backend(error)
    except Exception as error:  # OpenGL raises many types of errors
        if not os.environ.get(GL) or out_of_memory(error):
            raise
        mujoco = _without_backend(error)
    mujoco.set_mju_user_warning(lambda message: None)  # what they tell is read from the state, as a fault
    return mujoco


def _imported() -> Any:
    import mujoco

    return mujoco


def _without_backend(error: Exception) -> Any:
    """Remove MUJOCO_GL and what OpenGL has loaded for it, then import mujoco again."""
    backend = os.environ.pop(GL)
    os.environ.pop(PLATFORM, None)
    for name in [name for name in sys.modules if name.partition(".")[0] == "OpenGL"]:
        del sys.modules[name]
    try:
        mujoco = _imported()
    except ImportError:
        raise MissingInput("package mujoco is missing; run `pip install 'gymnasium[mujoco]'`") from error
    detail = " ".join(str(error).split())[:60]
    say(f"note         {GL}={backend} cannot be loaded ({detail}) and is ignored; unset {GL}")
    REFUSED.append(backend)
    return mujoco


def choose_backend() -> str:
    """Set MUJOCO_GL to the first backend that works, and return it. A value that the user has set is kept.

    A child process tests the backend, because a backend that fails can end its process. Also, the choice is fixed once
    mujoco has imported OpenGL.

    Raises:
        ServiceError: if no backend works, or not that of the user.
    """
    chosen = os.environ.get(GL)
    if chosen and not draws(chosen):
        raise ServiceError(f"{GL}={chosen} cannot draw on this machine; unset {GL}, or remove video=true")
    if chosen:
        return chosen
    for backend in BACKENDS:
        if draws(backend):
            os.environ[GL] = backend
            return backend
    raise ServiceError(
        "this machine cannot draw MuJoCo without a display; install libegl1 or libosmesa6, or remove video=true"
    )


@functools.cache
def draws(backend: str) -> bool:
    """Return whether a child process can draw a picture with `backend`."""
    environment = {**os.environ, GL: backend}
    try:
        done = subprocess.run(
            [sys.executable, "-c", PROBE], env=environment, capture_output=True, text=True, timeout=60
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0 and "drawn" in done.stdout
