"""Nodes of a configuration as typed values: a mapping becomes the frozen dataclass that an annotation names.

A node is data: what is built from it is decided by the annotation, never by a name inside the node.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from vgm2p.errors import ConfigError, nearest

NAMES = {bool: "true or false", str: "text", type(None): "null", list: "a list", dict: "keys with values"}


def construct(cls: type[Any], values: Mapping[str, Any], where: str) -> Any:
    """Return the dataclass `cls` with `values`, nested ones included.

    A field's metadata may hold `least`, the smallest number that it takes (default: 1 for whole numbers, 0 for others).

    Raises:
        ConfigError: for an unknown key, or a value of the wrong kind; `where` begins the key's name.
    """
    fields = {field.name: field for field in dataclasses.fields(cls)}
    hints = get_type_hints(cls)
    refuse_unknown(values, fields, where)
    missing = [name for name, field in fields.items() if name not in values and _required(field)]
    if missing:
        raise ConfigError(f"{where}.{missing[0]} is missing; every key of this node needs a value")
    return cls(
        **{
            name: convert(value, hints[name], f"{where}.{name}" if where else name, fields[name].metadata.get("least"))
            for name, value in values.items()
        }
    )


def arguments(target: type[Any], values: Mapping[str, Any], where: str, least: int = 1) -> dict[str, Any]:
    """Return `values` as keyword arguments of `target`, each as the constructor's annotation has it.

    Constructors with `**keywords` take those of their base classes, too. Keys that begin with `_` belong to Hydra.

    Args:
        target: the class to be built.
        values: a node of the configuration.
        where: the node's name, for messages.
        least: smallest whole number that a count may be.

    Raises:
        ConfigError: for a key that no constructor takes, or a value of the wrong kind.
    """
    given = {key: value for key, value in values.items() if not key.startswith("_")}
    hints: dict[str, Any] = {}
    for init in constructors(target):
        found = get_type_hints(init)
        parameters = inspect.signature(init).parameters.values()
        named = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        hints = {name: found.get(name, Any) for name in named if name not in ("self", "spec", "seeds")} | hints
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            refuse_unknown(given, hints, where)
            break
    return {
        key: convert(value, hints.get(key, Any), f"{where}.{key}", _least(value, least)) for key, value in given.items()
    }


def constructors(target: type[Any]) -> Iterator[Any]:
    """Yield the `__init__` of a class and of its bases that have their own."""
    return (vars(cls)["__init__"] for cls in inspect.getmro(target) if "__init__" in vars(cls) and cls is not object)


def _least(value: Any, least: int) -> int | None:
    return least if isinstance(value, int) and not isinstance(value, bool) else None


def convert(value: Any, hint: Any, key: str, least: float | None = None) -> Any:
    """Return `value` as the annotation `hint` has it; annotations that are no plain type pass it on unchanged.

    Raises ConfigError naming `key` and what it takes.
    """
    options = _options(hint)
    node = next((option for option in options if dataclasses.is_dataclass(option)), None)
    if node is not None and isinstance(value, Mapping):
        return construct(node, value, key)  # type: ignore[arg-type]
    choices = [choice for option in options if get_origin(option) is Literal for choice in get_args(option)]
    plain = [get_origin(option) or option for option in options if get_origin(option) is not Literal]
    known = all(option in (bool, int, float, str, type(None), list, dict) for option in plain)
    if node is not None or not known:
        return value
    if _is_choice(value, choices) or any(_fits(value, option, least) for option in plain):
        return value
    raise ConfigError(f"{key} must be {_takes(plain, choices, least)}, got {value!r}")


def refuse_unknown(values: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    """Raise ConfigError for the first key of `values` that is not `known`."""
    names = list(known)
    for key in values:
        if key not in names:
            raise ConfigError(f"unknown key '{where}.{key}'" + nearest(str(key), names))


def _options(hint: Any) -> tuple[Any, ...]:
    if get_origin(hint) in (Union, types.UnionType):
        return tuple(inner for option in get_args(hint) for inner in _options(option))
    return (hint,)


def _is_choice(value: Any, choices: list[Any]) -> bool:
    return any(type(value) is type(choice) and value == choice for choice in choices)


def _fits(value: Any, option: Any, least: float | None) -> bool:
    if isinstance(value, bool) or value is None:
        return option is (type(None) if value is None else bool)
    if option is int:
        return isinstance(value, int) and value >= (1 if least is None else least)
    if option is float:
        return isinstance(value, int | float) and value >= (0 if least is None else least)
    return isinstance(value, option)


def _takes(plain: list[Any], choices: list[Any], least: float | None) -> str:
    whole, number = f"a whole number from {1 if least is None else least:g}", f"a number from {least or 0:g}"
    names = {**NAMES, int: whole, float: number}
    return " or ".join([*(str(choice) for choice in choices), *(names[option] for option in plain)])


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
