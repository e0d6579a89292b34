"""The manifest of a run: configuration, versions, data, device and git state."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

import vgm2p
from vgm2p.config.compose import PACKAGE
from vgm2p.config.nodes import to_plain
from vgm2p.config.settings import stored_part
from vgm2p.io.shell import typed_command
from vgm2p.training.run import Run
from vgm2p.types import Spec

PACKAGES = (
    "torch",
    "lightning",
    "torchmetrics",
    "hydra-core",
    "h5py",
    "numpy",
    "gymnasium",
    "gymnasium-robotics",
    "mujoco",
)


def manifest(run: Run, spec: Spec, data: Mapping[str, Any], threads: int) -> dict[str, Any]:
    """Return the content of manifest.json.

    Args:
        run: the run.
        spec: the task.
        data: summary of the dataset.
        threads: number of CPU threads in use.
    """
    return {
        "format": 1,
        "config": {**stored_part(to_plain(run.settings)), "overrides": run.settings.overrides},
        "spec": spec.to_dict(),
        "data": dict(data),
        "versions": {"python": platform.python_version(), "vgm2p": vgm2p.__version__, **package_versions()},
        "environment_versions": dict(run.env.versions) if run.env else {},
        "device": device_name(run.device),
        "threads": threads,
        "platform": platform.platform(),
        "git": git_state(),
        "command": typed_command(),
    }


def package_versions() -> dict[str, str]:
    """Return the versions of the installed packages that can change a result."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def device_name(device: torch.device) -> str:
    """Return a readable name of a device: `cpu`, or `cuda` with the model."""
    return f"cuda ({torch.cuda.get_device_name()})" if device.type == "cuda" else "cpu"


def git_state() -> dict[str, Any] | None:
    """Return the commit and whether the checkout is modified; None outside a checkout."""
    try:
        commit = _git("rev-parse", "HEAD")
        return {"commit": commit, "modified": bool(_git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(PACKAGE.parent), *arguments], capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()
