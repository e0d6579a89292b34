"""The settings of a command from the keys of a call in Python, as the command line makes them from words."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from vgm2p.config.command_line import hydra_words
from vgm2p.config.compose import resolved
from vgm2p.config.hydra_errors import explained
from vgm2p.config.nodes import settings_of
from vgm2p.config.quoting import written
from vgm2p.config.settings import GROUPS
from vgm2p.config.words import SETTINGS
from vgm2p.errors import ConfigError

KEY = re.compile(r"\+{0,2}[A-Za-z_][\w./]*")
CLASSES = ("callbacks", "logger")  # groups to which a caller may add nodes with a class


def settings_from(command: str, keys: Mapping[str, Any]) -> Any:
    """Return the settings of a command.

    Args:
        command: the command.
        keys: key -> value. A value may be a mapping of keys below it: `net={"width": 16}` is `net.width=16`.

    Raises:
        ConfigError: for an unknown key or a wrong value.
    """
    words = hydra_words(command, [f"{key}={written(value)}" for key, value in _leaves(keys, command)])
    return settings_of(explained(command, lambda: resolved(command, words)), SETTINGS[command])


def _leaves(keys: Mapping[str, Any], command: str, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, plain value). A node that adds a class, or an argument of an environment, stays whole."""
    for key, value in keys.items():
        dotted = f"{name}.{key}" if name else str(key)
        if not KEY.fullmatch(dotted) or dotted.lstrip("+").startswith("hydra."):
            raise ConfigError(f"{dotted!r} is not the name of a key; see `vgm2p {command} --help`")
        if dotted == "data" and isinstance(value, list | tuple | np.ndarray):
            raise ConfigError(
                "data takes the name of a dataset or one file; write arrays with vgm2p.write_dataset, "
                "and give several files as data='files' with **{'data.source.paths': [...]}"
            )
        if dotted in GROUPS and isinstance(value, list | tuple):
            raise ConfigError(f"{dotted} takes one name, got {value!r}; call it once for each")
        if not isinstance(value, Mapping) or name == "env":
            yield dotted, _plain(value, dotted)
        elif name in CLASSES and "_target_" in value:
            yield f"++{dotted}", _plain(value, dotted)
        else:
            yield from _leaves(value, command, dotted)


def _plain(value: Any, key: str) -> Any:
    """Return a value of Python or numpy as text, number, truth value, None, list or dict. Raises ConfigError."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):  # a number or an array of numpy, a tensor
        return _plain(value.tolist(), key)
    if isinstance(value, Mapping):
        return {str(inner): _plain(each, key) for inner, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each, key) for each in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ConfigError(f"{key} is a {type(value).__name__}; give text, a number, True, False, None, a list or a dict")
