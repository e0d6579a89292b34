"""Configurations that are read from files. They are data, never code, because somebody else may have written the file.

The configuration of a checkpoint may name classes only at `algo`, `env`, `data` and `data.source`, and only classes
that a yaml file of `conf/` on this machine names. From the words of a manifest, only values of our own keys are used.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException

from vgm2p.config.build import TARGET, refuse_code
from vgm2p.config.compose import config_folders, groups, options
from vgm2p.config.nodes import settings_of
from vgm2p.config.quoting import CALL, INTERPOLATION, literal, written
from vgm2p.config.settings import FIT_KEYS, GROUPS, PolicySettings
from vgm2p.config.typed import LISTS, PATHS, TEXTS
from vgm2p.errors import ConfigError, DataError
from vgm2p.groups import over_run
from vgm2p.io.text import plain
from vgm2p.types import Acting, Spec

CLASS_KEYS = {  # key that may name a class -> group whose yaml files name the allowed classes
    f"algo.{TARGET}": "algo",
    f"env.{TARGET}": "env",
    f"data.{TARGET}": "data",
    f"data.source.{TARGET}": "data",
}
MODULE = re.compile(r"[A-Za-z_][\w.]*:(?!//)")
MODULE_KEY = "env.module"  # the module of an environment of PettingZoo (conf/env/pettingzoo.yaml)
PACKAGES = ("pettingzoo.", "gymnasium_robotics.")  # packages whose modules define environments, and do nothing else
LONGEST = 20_000  # characters of the words of a manifest
Kind = TypeVar("Kind")
PLAIN = (dict, list, str, int, float, bool, type(None))


def stored_policy(config: Any, file: Path) -> PolicySettings:
    """Return the settings of a policy from the configuration in a checkpoint.

    Raises:
        DataError: if it is no configuration, or if it could call code. Nothing is imported or built before this check.
    """
    try:
        refuse_foreign(config)
        trainer = config.get("trainer")
        precision = trainer.get("precision") if isinstance(trainer, dict) else None
        names = ("algorithm", "environment", "seed", "seeds", "env", "data")
        algo = over_run(config.get("algo"), config.get("updates"))
        given = {**{name: config.get(name) for name in names}, "algo": algo, "precision": precision}
        policy = settings_of(given, PolicySettings)
        ours = str(policy.env.get(TARGET)).startswith("vgm2p.")
        for name, value in everything(policy.env, "env"):
            if isinstance(value, str) and ":" in value and (ours or name == "env.env_id"):
                raise ConfigError(f"{name}={value}: gymnasium would import the module before the colon")
            if ours and name == MODULE_KEY and not module_is_known(value):
                raise ConfigError(f"{name}={value}: no file of conf/env/ (ours or yours) names this module")
        return policy
    except ConfigError as error:
        raise DataError(f"{file}: {error.line}; use the files of a run that you trust") from None


def stored_spec(spec: Any, file: Path) -> Spec:
    """Return the task of a checkpoint. Raises DataError if it is no Spec."""
    return _stored(spec, Spec, f"{file}: spec", "use the run's own files")


def stored_acting(acting: Any, file: Path) -> Acting:
    """Return the way to act of an exported policy. Raises DataError if it is none."""
    return _stored(acting, Acting, f"{file}: acting", "export or fetch the policy again")


def _stored(node: Any, kind: type[Kind], where: str, remedy: str) -> Kind:
    """Return a dataclass from a node of somebody's file. Raises DataError if the node is none, or could call code."""
    try:
        refuse_foreign(node)
        return settings_of(node, kind)
    except ConfigError as error:
        raise DataError(f"{where}: {error.line}; {remedy}") from None


def refuse_foreign(config: Any) -> None:
    """Raise ConfigError unless `config` consists of plain containers, and all classes in it are allowed."""
    if not isinstance(config, dict):
        raise ConfigError("holds no configuration")
    for name, value in everything(config):
        if "${" in name or (isinstance(value, str) and "${" in value and not _is_name(name, value)):
            raise ConfigError(f"'{name}' contains an interpolation")
        if type(value) not in PLAIN:
            raise ConfigError(f"'{name}' contains a {type(value).__name__}, which is not allowed")
        if name in CLASS_KEYS and not class_is_ours(name, value):
            raise ConfigError(
                f"{name}={value}: no file of conf/{CLASS_KEYS[name]}/ (ours, or yours in this folder) names this class"
            )
    refuse_code(config, "", class_is_ours)


def _is_name(key: str, value: str) -> bool:
    """Return whether a text with `${` may be the name of a file. No resolver is called in any case."""
    return key in (*PATHS, *LISTS, *TEXTS, "algorithm") and not CALL.search(value)


def class_is_ours(key: str, value: Any) -> bool:
    """Return whether a dotted key may name a class, and a yaml file of its group names this class."""
    return key in CLASS_KEYS and isinstance(value, str) and value in named_classes(CLASS_KEYS[key])


def named_classes(group: str) -> set[str]:
    """Return the classes that the yaml files of a group name, in our `conf/` and in the user's own."""
    return _named(group, (TARGET, f"source.{TARGET}"))


def module_is_known(value: Any) -> bool:
    """Return whether a module may be imported: a package that we know has it, or a yaml file of `env` names it."""
    return isinstance(value, str) and (value.startswith(PACKAGES) or value in _named("env", ("module",)))


def _named(group: str, places: tuple[str, ...]) -> set[str]:
    """Return the texts that stand under the keys `places` in the yaml files of a group, ours and the user's own."""
    found: set[str] = set()
    for folder in config_folders():
        for path in sorted((folder / group).rglob("*.yaml")):
            try:
                node = yaml.safe_load(path.read_text())
            except (OSError, ValueError, yaml.YAMLError):  # Hydra reports the file when it is used
                continue
            found |= {value for name, value in everything(node) if name in places and isinstance(value, str)}
    return found


def stored_words(overrides: Any, file: Path) -> tuple[list[str], list[str]]:
    """Return the words of a manifest with which its run continues, without `out` and `resume`.

    Returns:
        The words that set a value of one of our keys, in a form that Hydra reads as data. And the words that do more:
        they add or remove a key, or name a class. Such a word is used only if the user types it again.

    Raises:
        DataError: for a word that no run of this program can have.
    """
    if not isinstance(overrides, list) or not all(isinstance(word, str) for word in overrides):
        raise DataError(f"{file}: has no list of overrides; start the run with its own command")
    if sum(map(len, overrides)) > LONGEST:
        raise DataError(f"{file}: has overrides of more than {LONGEST} characters; start the run with its own command")
    values: list[str] = []
    more: list[str] = []
    try:
        for override in OverridesParser.create().parse_overrides(overrides):
            if override.key_or_group in ("out", "resume"):
                continue
            _refuse_strange(override)
            data = _as_data(override)
            values += [] if data is None else [data]
            more += [str(override.input_line)] if data is None else []
    except HydraException:
        raise DataError(f"{file}: has an override that cannot be parsed; start the run with its own command") from None
    except ConfigError as error:
        raise DataError(
            f"{file}: {error.line}; start the run with its own command, in the same working folder"
        ) from None
    return values, more


def _refuse_strange(override: Override) -> None:
    """Raise ConfigError for a word that the program also refuses when a user types it."""
    word, key = override.input_line or "", override.key_or_group
    if plain(word) != word:
        raise ConfigError(f"'{word}' contains characters that cannot be typed")
    if key.partition(".")[0] not in (*FIT_KEYS, *groups()):
        raise ConfigError(f"'{word}' does not set one of our keys")
    if CALL.search(word) or override.package or override.is_sweep_override():
        raise ConfigError(f"'{word}' does more than set a value of a key")
    if key in GROUPS and override.type is OverrideType.CHANGE and override.value() not in options(key):
        raise ConfigError(f"'{word}' does not name a file of conf/{key}/")


def _as_data(override: Override) -> str | None:
    """Return `key=value`, with a value that Hydra reads as data; None if the word does more than set a value."""
    value, key = _literal(override.value()), override.key_or_group
    if any(isinstance(each, str) and _names_module(name, each) for name, each in everything({key: value})):
        return None
    added = override.type is OverrideType.FORCE_ADD and key.startswith("env.") and isinstance(value, dict)
    if not (added or override.type is OverrideType.CHANGE) or INTERPOLATION.search(str(override.input_line)):
        return None
    nested: Any = value
    for part in reversed(key.split(".")):
        nested = {part: nested}
    try:
        refuse_foreign(nested)
    except ConfigError:
        return None
    return f"{'++' if added else ''}{key}={written(value)}"


def _names_module(key: str, value: str) -> bool:
    """Return whether a module may be imported that we do not know: `env.module`, or the one before a colon.

    gymnasium imports it for `module:name`; `12:30` and a URL are no such names.
    """
    if key == MODULE_KEY:
        return not module_is_known(value)
    return ":" in value if key == "env.env_id" else key.startswith("env.") and bool(MODULE.match(value))


def _literal(value: Any) -> Any:
    """Return a value without interpolations with the texts that it stands for."""
    if isinstance(value, dict):
        return {key: _literal(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_literal(inner) for inner in value]
    return literal(value) if isinstance(value, str) else value


def everything(node: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) for every value below a node, including containers."""
    if isinstance(node, dict):
        for key, value in node.items():
            inner = f"{name}.{key}" if name else str(key)
            yield inner, value
            yield from everything(value, inner)
    elif isinstance(node, list):
        for value in node:
            yield name, value
            yield from everything(value, name)
