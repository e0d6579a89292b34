"""Builds callbacks and loggers from their nodes. Their classes may be ours, Lightning's, or the user's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import hydra

from vgm2p.config.build import TARGET, check_nested, class_of, package_missing
from vgm2p.config.nodes import arguments
from vgm2p.errors import ConfigError, UserError

Kind = TypeVar("Kind")


def plugin_class(node: Any, where: str, kind: type[Kind]) -> type[Kind]:
    """Return the class that a node names.

    Args:
        node: keys with a `_target_`, such as `my.Callback`, in the working folder or in an installed package.
        where: dotted name of the node, for messages.
        kind: the required base class.

    Raises:
        ConfigError: if there is no such class, or it is not a subclass of `kind`. Also for a class that a node inside
            it names.
        MissingInput: if its module needs a package that is not installed.
    """
    if not isinstance(node, Mapping) or TARGET not in node:
        raise ConfigError(f"{where} names no class; set {where}.{TARGET}=<module>.<Class>, or {where}=null")
    found = class_of(node, where)
    check_nested(node, where)
    if not issubclass(found, kind):
        raise ConfigError(f"{where}.{TARGET}={node[TARGET]} is no {kind.__name__} of `lightning` (import lightning)")
    return found


def build_plugin(cls: type[Kind], node: Mapping[str, Any], where: str, run: Any) -> Kind | None:
    """Return an object of `cls` with the keys of its node: `cls.for_run(run, **keys)` if it exists, else `cls(**keys)`.

    Nodes below it that have a `_target_` become objects, too. This is safe, because the user has typed them, or has
    chosen the yaml file that contains them.

    Raises:
        ConfigError: for a key that the class does not take, or if its constructor fails.
        MissingInput: if it needs a package that is not installed.
    """
    stray = [key for key in node if key.startswith("_") and key != TARGET]
    if stray:
        raise ConfigError(f"{where}.{stray[0]} is not allowed; a node has {TARGET} and arguments of the class")
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
        raise ConfigError(f"{where}: {cls.__name__} cannot be built ({type(error).__name__}: {detail})") from error


def with_nested(value: Any) -> Any:
    """Return a value in which all nodes with a `_target_`, at any depth, are replaced by objects."""
    return hydra.utils.instantiate(value, _convert_="all") if isinstance(value, dict | list) else value
