"""Builds data, environment and algorithm from the nodes of a configuration.

The `_target_` of a node names a class. The other keys are arguments of its constructor, never code. Only the node
`data.source` lies inside another node and has its own `_target_`.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vgm2p.config.checks import check_shares
from vgm2p.config.nodes import arguments
from vgm2p.config.settings import PolicySettings
from vgm2p.envs.base import VectorEnv, require_task
from vgm2p.errors import ConfigError, MissingInput, UserError, out_of_memory
from vgm2p.types import Spec

if TYPE_CHECKING:  # functions import these where they need them: torch and Lightning are slow to import
    from vgm2p.algos.contract import Algorithm

TARGET = "_target_"
CODE_KEYS = (TARGET, "_partial_", "_args_", "_recursive_", "_convert_")  # keys with which a node of Hydra calls code


def algorithm_class(algo: Mapping[str, Any]) -> type[Algorithm]:
    """Return the class that the node `algo` names, and check the node's keys. Raises ConfigError."""
    from vgm2p.algos.contract import Algorithm

    cls = class_of(algo, "algo")
    if not issubclass(cls, Algorithm):
        raise ConfigError(
            f"algo.{TARGET}={algo[TARGET]} is no algorithm; give a subclass of vgm2p.algos.contract.Algorithm"
        )
    arguments(cls, without_target(algo, "algo"), "algo")
    return cls


def build_algorithm(algo: Mapping[str, Any], spec: Spec, seeds: Sequence[int]) -> Algorithm:
    """Build the algorithm of the node `algo` for a task. Raises ConfigError if a value cannot work."""
    cls = algorithm_class(algo)
    keys = arguments(cls, without_target(algo, "algo"), "algo")
    if cls.__module__.startswith("vgm2p."):
        check_shares(algo)
    try:
        return cls(spec, list(seeds), **keys)
    except (RuntimeError, TypeError, ValueError) as error:  # torch's messages do not name the key
        if out_of_memory(error):
            raise
        raise ConfigError(f"algo: {str(error).splitlines()[0]}; see the comments in conf/algo/") from error


def make_algorithm(policy: PolicySettings, spec: Spec) -> Algorithm:
    """Build the algorithm of a run, with loss scaling if the run trains in float16. Raises ConfigError."""
    algorithm = build_algorithm(policy.algo, spec, policy.all_seeds)
    if policy.precision == "16-mixed":
        algorithm.scale_losses()
    return algorithm


def make_env(env: Mapping[str, Any]) -> VectorEnv:
    """Build the environment of the node `env`. Raises UserError, for example if its simulator is missing."""
    cls = class_of(env, "env")
    if not all(callable(getattr(cls, name, None)) for name in ("make", "reset", "step", "close")):
        raise ConfigError(f"env.{TARGET}={env[TARGET]} is no environment; see VectorEnv in vgm2p/envs/base.py")
    made: VectorEnv = _called(cls, env, "env", least=0)
    require_task(made)
    return made


def is_discrete(env: Mapping[str, Any]) -> bool | None:
    """Return the attribute `discrete` of the class that the node `env` names; None if it has none.

    Needs no simulator. Raises as `class_of`.
    """
    found: bool | None = getattr(class_of(env, "env"), "discrete", None)
    return found


def refuse_missing(env: Mapping[str, Any], name: str, video: bool, replay: bool) -> None:
    """Raise ConfigError if the environment `name` cannot draw a requested video or save a requested replay.

    Needs no simulator. Raises as `class_of`.
    """
    cls = class_of(env, "env")
    draws, saves = getattr(cls, "draws", True), hasattr(cls, "save_replay")
    if video and not draws:
        instead = "; replay=true saves a replay" if saves else ""
        raise ConfigError(f"video=true: env={name} draws no pictures{instead}")
    if replay and not saves:
        raise ConfigError(f"replay=true: env={name} saves no replays{'; video=true makes a video' if draws else ''}")


def make_data(data: Mapping[str, Any]) -> Any:
    """Build the datamodule of the node `data` with its source. Its files are opened later. Raises UserError."""
    from lightning import LightningDataModule

    cls, node = class_of(data, "data"), data.get("source")
    if not issubclass(cls, LightningDataModule) or not isinstance(node, Mapping):
        raise ConfigError(f"data.{TARGET}={data[TARGET]} is no datamodule with a source; see conf/data/")
    source_class = class_of(node, "data.source")
    if not callable(getattr(source_class, "resolve", None)):
        raise ConfigError(f"data.source.{TARGET}={node[TARGET]} is no source; see FileSource in datamodules/offline.py")
    source = _called(source_class, node, "data.source")
    return _called(cls, {key: value for key, value in data.items() if key != "source"}, "data", source=source)


def class_of(node: Mapping[str, Any], where: str) -> type[Any]:
    """Import and return the class that the `_target_` of a node names. Raises as `imported`."""
    name = node.get(TARGET)
    found = imported(name, where)
    if not isinstance(found, type):
        raise ConfigError(f"{where}.{TARGET}={name} is not a class; give <module>.<Class>")
    return found


def imported(name: Any, where: str) -> Any:
    """Import and return what the `_target_` of the node `where` names. Its module may lie in the working folder.

    Raises:
        ConfigError: if there is no such class or function.
        MissingInput: if its module needs a package that is not installed.
    """
    key, module = f"{where}.{TARGET}", name.rpartition(".")[0] if isinstance(name, str) else ""
    if not module:
        raise ConfigError(f"{key} must name a class as <module>.<Class>, got {name!r}")
    folder = os.getcwd()
    if folder not in sys.path:
        sys.path.append(folder)  # last, so that no module there hides an installed package
    try:
        return _located(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise package_missing(where, error) from error
        raise ConfigError(
            f"{key}={name}: no module '{error.name}' in the working folder {folder}, in PYTHONPATH or installed; "
            f"start in the folder of {error.name.partition('.')[0]}.py"
        ) from error
    except Exception as error:  # a user's module may raise anything
        detail = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise ConfigError(f"{key}={name} cannot be imported ({detail})") from error


def _located(name: str) -> Any:
    """Return `<module>.<name>`, or what is inside a class, `<module>.<Class>.<name>`. Raises as an import does."""
    module, _, attribute = name.rpartition(".")
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module or "." not in module:
            raise
        found = _located(module)
    return getattr(found, attribute)


def check_nested(value: Any, where: str) -> None:
    """Import what every `_target_` below `value` names, at any depth. Builds nothing. Raises as `imported`."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key == TARGET:
                imported(inner, where)
            check_nested(inner, f"{where}.{key}")
    elif isinstance(value, list):
        for inner in value:
            check_nested(inner, where)


def package_missing(where: str, error: ModuleNotFoundError) -> MissingInput:
    """Return the error for a node whose class needs a package that is not installed."""
    quoted = re.search("'([^']+)'", str(error))  # Lightning's message: Requirement 'wandb>=0.12.10' not met
    name = error.name.partition(".")[0] if error.name else quoted[1] if quoted else str(error)
    return MissingInput(f"{where} needs the package {name}, which is missing; install it first")


def without_target(node: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return a node without its `_target_`. Raises ConfigError if another key in it would call code."""
    kept = {key: value for key, value in node.items() if key != TARGET}
    refuse_code(kept, where)
    return kept


def refuse_code(value: Any, where: str, allowed: Callable[[str, Any], bool] = lambda key, value: False) -> None:
    """Raise ConfigError for the first key below `value` with which Hydra would call code.

    Args:
        value: plain containers.
        where: dotted name of `value`; "" for a whole configuration.
        allowed: (dotted key, value) -> whether this key may stand here with this value.
    """
    if isinstance(value, Mapping):
        for key, inner in value.items():
            name = f"{where}.{key}" if where else str(key)
            if key in CODE_KEYS and not allowed(name, inner):
                raise ConfigError(f"{name} is not allowed: this node contains data, no code; remove the key")
            refuse_code(inner, name, allowed)
    elif isinstance(value, list):
        for inner in value:
            refuse_code(inner, where, allowed)


def _called(cls: type[Any], node: Mapping[str, Any], where: str, least: float | None = None, **given: Any) -> Any:
    """Call a class with the keys of its node. Raises every error of the class as a UserError."""
    keys = arguments(cls, without_target(node, where), where, least, given)
    try:
        return cls(**keys, **given)
    except UserError:
        raise
    except Exception as error:  # a simulator or a user's class may raise anything
        if out_of_memory(error):
            raise
        detail = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(f"{where}: {detail}; see the comments in conf/{where.partition('.')[0]}/") from error
