"""Composition root: a resolved configuration becomes data, environment, algorithm. Hydra stops here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

import vgm2p
from vgm2p.algos.contract import Algorithm
from vgm2p.config.checks import check_target
from vgm2p.config.nodes import arguments
from vgm2p.config.settings import training_part
from vgm2p.envs.base import VectorEnv
from vgm2p.errors import ConfigError, UserError
from vgm2p.run.fingerprint import run_name
from vgm2p.types import Spec

PACKAGE = Path(vgm2p.__file__).resolve().parent


def config_folder() -> Path:
    """Return our `conf/`, in a checkout and in a wheel alike."""
    return (PACKAGE / "conf").resolve()


def resolve(cfg: DictConfig) -> dict[str, Any]:
    """Return the configuration as plain containers; that of `fit` with the names of the chosen groups."""
    config: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    hydra_config = HydraConfig.get()
    if hydra_config.job.config_name != "fit":
        return config
    choices = hydra_config.runtime.choices
    if config["trainer"]["threads"] == "auto" and "joblib" in hydra_config.launcher["_target_"]:
        config["trainer"]["threads"] = 1  # the jobs share this machine's cores
    named = config["label"] or choices["algo"]
    names = {"experiment": choices["experiment"], "algorithm": named, "environment": choices["env"]}
    return {**config, **names, "overrides": list(hydra_config.overrides.task)}


def run_folder(*, _root_: DictConfig) -> str:
    """Resolver of `out`: runs/<experiment>/<label or algo>/<name>."""
    choices = HydraConfig.get().runtime.choices
    keys = [str(key) for key in _root_ if key not in ("out", "hydra")]
    config: dict[str, Any] = OmegaConf.to_container(OmegaConf.masked_copy(_root_, keys), resolve=True)  # type: ignore[assignment]
    named = _root_.get("label") or choices["algo"]
    return f"runs/{choices['experiment']}/{named}/{run_name(training_part(config))}"


def register_resolvers() -> None:
    """Make `${run_folder:}` known to OmegaConf."""
    OmegaConf.register_new_resolver("run_folder", run_folder, replace=True)


def algorithm_class(config: Mapping[str, Any]) -> type[Algorithm]:
    """Return the class that `algo._target_` names, its keys checked."""
    cls: type[Algorithm] = hydra.utils.get_class(config["algo"]["_target_"])
    arguments(cls, config["algo"], "algo")
    return cls


def make_algorithm(config: Mapping[str, Any], spec: Spec) -> Algorithm:
    """Build the algorithm of `config` for a task, with its seeds. Raises ConfigError if a value cannot work."""
    seeds = range(config["seed"], config["seed"] + config["seeds"])
    cls: type[Algorithm] = hydra.utils.get_class(config["algo"]["_target_"])
    keys = arguments(cls, config["algo"], "algo")
    try:
        algorithm = cls(spec, list(seeds), **keys)
    except (RuntimeError, TypeError, ValueError) as error:  # torch names no key
        raise ConfigError(f"algo: {str(error).splitlines()[0]}; see the comments in conf/algo/") from error
    if config.get("trainer", {}).get("precision") == "16-mixed":
        algorithm.scale_losses()
    return algorithm


def make_env(env: Mapping[str, Any]) -> VectorEnv:
    """Build the environment of the node `env`; simulators start when its `make` is called."""
    return instantiate(env, "env")


def make_data(data: Mapping[str, Any]) -> Any:
    """Build the datamodule of the node `data`; files are opened when it is set up."""
    return instantiate(data, "data")


def instantiate(node: Mapping[str, Any], where: str, **options: Any) -> Any:
    """Call Hydra's `_target_` with plain containers; errors of the user come back as one line."""
    if "_target_" in node:
        check_target(node, where, hydra.utils.get_class(node["_target_"]))
    try:
        return hydra.utils.instantiate(node, _convert_="all", **options)
    except hydra.errors.InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, UserError):
            raise cause from None
        detail = str(cause if cause is not None else error).splitlines()[0]
        raise ConfigError(f"{where}: {detail}; see the comments in conf/{where}/") from error
