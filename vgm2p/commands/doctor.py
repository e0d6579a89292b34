"""`vgm2p doctor`: what works on this machine, and how to fix what does not."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import torch

from vgm2p.config.words import DoctorSettings
from vgm2p.envs import smac_install
from vgm2p.errors import MissingInput, UserError
from vgm2p.io.text import say
from vgm2p.signals import StopFlag
from vgm2p.training.manifest import package_versions

Check = Callable[[], str]


class Doubt(UserError):
    """Something works, but results may differ from those of others."""


def doctor(root: str) -> bool:
    """Print one line per check. Return whether everything that a default run needs works."""
    good = True
    for name, needed, probe in checks(root):
        try:
            state, detail = "ok", probe()
        except Doubt as doubt:
            state, detail = "warn", doubt.line
        except UserError as error:
            state, detail = ("FAIL" if needed else "no"), error.line
        except Exception as error:  # a broken package may raise anything; report it and continue
            first = str(error).splitlines()[:1]
            state, detail = ("FAIL" if needed else "no"), f"{type(error).__name__}: {' '.join(first)}"
        good = good and state != "FAIL"
        say(f"{state:4}  {name:12}  {detail}")
    return good


def checks(root: str) -> Iterator[tuple[str, bool, Check]]:
    """Yield (name, whether a default run needs it, function that returns details or raises)."""
    yield "python", True, lambda: f"{platform.python_version()} on {platform.platform()}"
    yield "packages", True, _packages
    yield "cpu", True, lambda: f"{os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads"
    yield "cuda", False, _cuda
    yield "bundled data", True, _bundled
    yield "recordings", False, lambda: _recordings(root)
    yield "vaults", False, _vaults
    yield "mujoco", True, _mujoco
    yield "smax", False, _smax
    yield "smacv2", False, _smacv2
    yield "protobuf", False, smac_install.protobuf
    yield "starcraft ii", False, _starcraft
    yield "smac maps", False, _smac_maps
    yield "smac game", False, _smac_game
    yield "rendering", False, _rendering
    yield "video", False, _video
    yield "disk", True, _disk


def _packages() -> str:
    return ", ".join(f"{name} {version}" for name, version in package_versions().items())


def _cuda() -> str:
    if not torch.cuda.is_available():
        raise UserError("torch finds no CUDA device; runs use the CPU (a GPU needs a torch with CUDA)")
    return torch.cuda.get_device_name()


def _bundled() -> str:
    from vgm2p.datamodules.sources.recorded import Bundled
    from vgm2p.datamodules.store.transitions import TransitionStore

    summary = TransitionStore.load(Bundled().resolve(), verify="full").summary
    return f"{summary['episodes']} episodes, digest {summary['digest'][:12]} verified"


def _recordings(root: str) -> str:
    found = sorted(Path(root).rglob("*.hdf5")) if Path(root).is_dir() else []
    if not found:
        raise UserError(f"none below data.root={root}; only experiments recorded_* need them (VGM2P_DATA=<folder>)")
    return f"{len(found)} files below {root}"


def _vaults() -> str:
    from importlib.metadata import version

    from vgm2p.datamodules.vaults.vault import tensorstore

    tensorstore()
    return f"tensorstore {version('tensorstore')} reads published datasets"


def _mujoco() -> str:
    import numpy as np

    from vgm2p.envs.mujoco import MAMuJoCo

    with closing(MAMuJoCo(env_id="HalfCheetah-v5", n_agents=6, view="raw_onehot")) as env:
        env.make(1)
        env.reset([0])
        step = env.step(np.zeros((1, 6, 1), np.float32), np.ones(1, bool))
    if step.fault[0]:
        raise UserError(
            f"HalfCheetah-v5 does not step: {step.info['cause'][0]}; run `make install` (its versions: constraints.txt)"
        )
    return f"HalfCheetah-v5 6x1 steps, reward {step.reward[0]:.3f}"


def _smax() -> str:
    from vgm2p.envs.smax import SMAX

    env = SMAX("3m")
    return f"3m has {env.spec.n_agents} agents ({', '.join(f'{k} {v}' for k, v in env.versions.items())})"


def _smacv2() -> str:
    return ", ".join(f"{name} {version}" for name, version in smac_install.packages().items())


def _starcraft() -> str:
    build, usual = smac_install.game_build(), smac_install.USUAL_BUILD
    place = f"build {build} in {smac_install.game_folder()} (SC2PATH)"
    if build != usual:
        raise Doubt(f"{place}, not {usual} (4.10) as in OG-MARL and SMAC: fights may go differently; `make sc2` has it")
    return place


def _smac_maps() -> str:
    smac_install.require_maps(smac_install.EXPERIMENT_MAPS)
    return ", ".join(smac_install.EXPERIMENT_MAPS)


def _smac_game() -> str:
    import numpy as np

    from vgm2p.envs.smac import SMACv1

    try:
        env = SMACv1("3m", workers=1, timeout=60.0)
    except MissingInput:
        raise UserError("not tested: see the lines above; SMAC experiments can train with evaluate=none") from None
    with closing(env):
        env.reset([0])
        step = env.step(np.ones((1, 3), int), np.ones(1, bool))
    if step.fault[0]:
        raise UserError(f"3m does not play: {step.info['cause'][0]}; see docs/smac.md")
    return f"3m starts and steps, reward {step.reward[0]:.3f}"


def _rendering() -> str:
    from vgm2p.envs.mujoco import MAMuJoCo
    from vgm2p.envs.render import REFUSED

    with closing(MAMuJoCo(env_id="HalfCheetah-v5", n_agents=6, view="raw_onehot")) as env:
        env.make(1)
        env.reset([0])
        height, width, _ = env.render(0).shape
    picture = f"headless picture {width}x{height} (MUJOCO_GL={os.environ.get('MUJOCO_GL', 'default')})"
    if REFUSED:
        raise Doubt(f"MUJOCO_GL={REFUSED[0]} cannot be loaded; unset MUJOCO_GL; without it: {picture}")
    return picture


def _video() -> str:
    import imageio_ffmpeg

    return f"ffmpeg {imageio_ffmpeg.get_ffmpeg_version()}"


def _disk() -> str:
    with tempfile.TemporaryFile(dir=Path.cwd()) as file:
        file.write(b"x")
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    if free < 1:
        raise UserError(f"only {free:.2f} GiB free in this folder; a run needs 0.1 to 1 GiB; free space")
    return f"{free:.0f} GiB free, this folder can be written"


def run(settings: DoctorSettings, stop: StopFlag) -> None:
    """Check the machine. Raises MissingInput if something that every run needs does not work."""
    if not doctor(settings.root):
        raise MissingInput("something that every run needs does not work; see the lines marked FAIL")
