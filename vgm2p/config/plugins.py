"""Callbacks and loggers from their nodes: classes of ours, of Lightning, of other packages, of the working folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import hydra

from vgm2p.config.build import TARGET, class_of, package_missing
from vgm2p.config.nodes import arguments
from vgm2p.errors import ConfigError, UserError

Kind = TypeVar("Kind")


def plugin_class(node: Any, where: str, kind: type[Kind]) -> type[Kind]:
    """Return the class that a node names.

    Args:
        node: keys with `_target_`, e.g. `my.Callback`: a module of the working folder, or of an installed package.
        where: the node's name, for messages.
        kind: what the class must be.

    Raises:
        ConfigError: if there is no such class, or it is not of this kind.
        MissingInput: if its module needs a package that is not installed.
    """
    if not isinstance(node, Mapping) or TARGET not in node:
        raise ConfigError(f"{where} names no class; set {where}.{TARGET}=<module>.<Class>, or {where}=null")
    found = class_of(node, where)
    if not issubclass(found, kind):
        raise ConfigError(f"{where}.{TARGET}={node[TARGET]} is no {kind.__name__} of `lightning` (import lightning)")
    return found


def build_plugin(cls: type[Kind], node: Mapping[str, Any], where: str, run: Any) -> Kind | None:
    """Return an object of `cls` with the keys of its node, by `cls.for_run(run, **keys)` where it has that.

    Nodes with a `_target_` below the node become objects, too: everything here was typed by the user, or stands in a
    yaml file that she chose.

    Raises:
        ConfigError: for a key that the class does not take, or where its constructor fails.
        MissingInput: if it needs a package that is not installed.
    """
    stray = [key for key in node if key.startswith("_") and key != TARGET]
    if stray:
        raise ConfigError(f"{where}.{stray[0]} is not read; a node has {TARGET} and keys of the class")
    with_run = hasattr(cls, "for_run")
    keys = arguments(cls, node, where, given=("run",) if with_run else ())
    make: Callable[..., Kind | None] = cls.for_run if with_run else cls  # type: ignore[attr-defined]
    try:
        return make(*([run] if with_run else []), **{key: with_nested(value) for key, value in keys.items()})
    except UserError:
        raise
    except ModuleNotFoundError as error:
        raise package_missing(where, error) from error
    except Exception as error:  # a user's class may raise anything
        detail = " ".join(str(error).split())
        raise ConfigError(f"{where}: {cls.__name__} cannot be made ({type(error).__name__}: {detail})") from error


def with_nested(value: Any) -> Any:
    """Return a value in which nodes with a `_target_`, however deep, are objects."""
    return hydra.utils.instantiate(value, _convert_="all") if isinstance(value, dict | list) else value
