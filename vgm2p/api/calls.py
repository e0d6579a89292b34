"""`vgm2p.fit`, `evaluate`, `collect`, `export_policy`, `load` and `results`: the commands as functions."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from vgm2p.api.guest import guest
from vgm2p.api.results import Evaluated, Fitted, evaluated, fitted
from vgm2p.commands.start import start
from vgm2p.config.request import settings_from
from vgm2p.errors import ConfigError
from vgm2p.execution.trained import TrainedPolicy
from vgm2p.execution.trained import load as load_policy
from vgm2p.io.shell import noted

Place = str | os.PathLike[str]


def fit(experiment: str | None = None, algo: str | None = None, *, quiet: bool = False, **keys: Any) -> Fitted:
    """Train and evaluate a policy, as `vgm2p fit` does: the same settings, run folder, results and bits.

    The same call again continues a run that was stopped, or returns the results of a finished one. After Ctrl-C, the
    run has saved its state.

    Args:
        experiment: dataset, environment and budget of one task; None: the bundled quick start.
        algo: the algorithm; None: that of the experiment.
        quiet: whether to print nothing.
        keys: any key of `vgm2p fit --help`. Keys with a dot may be nested: `net={"width": 16}`, or
            `**{"net.width": 16}`. Names of groups choose a file: `data="files"`, `env="none"`.

    Returns:
        The results of the run.

    Raises:
        vgm2p.UserError: for everything that a user can cause; its text says what is wrong, where, and how to mend it.
            `vgm2p.errors` has its subclasses, such as `Diverged` if a seed has no result.
    """
    named = {"experiment": experiment, "algo": algo}
    with guest(quiet) as stop:
        settings = settings_from("fit", {key: value for key, value in named.items() if value is not None} | keys)
        with noted(["fit", *settings.overrides]):  # the manifest names the command of the same run
            start("fit", settings, stop)
        return fitted(Path(settings.out))


def evaluate(run: Place, *, quiet: bool = False, **keys: Any) -> Evaluated:
    """Roll out a trained policy, as `vgm2p evaluate` does.

    Args:
        run: run folder, checkpoint file, or what `fit` returned.
        quiet: whether to print nothing.
        keys: any key of `vgm2p evaluate --help`, such as `episodes=100` or `act_noise=[1, 0.5]`.

    Raises:
        vgm2p.UserError: as `fit`.
    """
    with guest(quiet) as stop:
        return evaluated(start("evaluate", settings_from("evaluate", {"run": run, **keys}), stop))


def collect(out: Place, *, quiet: bool = False, **keys: Any) -> Path:
    """Record a dataset, as `vgm2p collect` does, and return its file.

    Args:
        out: the new HDF5 file.
        quiet: whether to print nothing.
        keys: any key of `vgm2p collect --help`, such as `env="mamujoco/6halfcheetah"` or `policy="random"`.

    Raises:
        vgm2p.UserError: as `fit`.
    """
    with guest(quiet) as stop:
        recorded: Path = start("collect", settings_from("collect", {"out": out, **keys}), stop)
        return recorded


def export_policy(run: Place, *, quiet: bool = False, **keys: Any) -> Path:
    """Write a trained policy as files that other programs can read, as `vgm2p export` does, and return their folder.

    Args:
        run: run folder, checkpoint file, or what `fit` returned.
        quiet: whether to print nothing.
        keys: any key of `vgm2p export --help`, such as `formats="onnx"` or `agent=0`.

    Raises:
        vgm2p.UserError: as `fit`.
    """
    with guest(quiet) as stop:
        written: Path = start("export", settings_from("export", {"run": run, **keys}), stop)
        return written.resolve()


def load(run: Place, device: str = "cpu") -> TrainedPolicy:
    """Load a trained policy.

    Args:
        run: run folder (its newest intact checkpoint is used), checkpoint file, folder that `export_policy` wrote,
            `hub:<owner>/<name>[@<commit, tag or branch>]`, or what `fit` returned.
        device: `cpu` or `cuda`.

    Raises:
        vgm2p.UserError: if there is no checkpoint, or it is damaged, or could execute code.
    """
    with guest():
        return load_policy(_place(run), device)


def results(run: Place) -> Fitted:
    """Return the results of a finished run, from its folder.

    Raises:
        vgm2p.UserError: if the run has not finished, or its results are damaged.
    """
    with guest():
        return fitted(Path(_place(run)).expanduser())


def _place(run: object) -> str:
    """Return a run as text. Raises ConfigError for other types than `Place`."""
    if not isinstance(run, str | os.PathLike):
        raise ConfigError(f"run is a {type(run).__name__}; give a run folder, or what vgm2p.fit returned")
    return os.fspath(run)
