"""Configurations as typed values: a mapping becomes a frozen dataclass, nested ones by their annotations.

A node is data: what is built from it is decided by the annotation, never by a name inside the node.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from vgm2p.errors import ConfigError, nearest

NAMES = {bool: "true or false", str: "text", type(None): "null", list: "a list", dict: "keys with values"}
KINDS = (*NAMES, int, float)
Settings = TypeVar("Settings")


def key(
    *,
    trains: bool = False,
    least: float | None = None,
    except_for: Iterable[str] = (),
    composed: bool = False,
    stored: bool = True,
    rest: bool = False,
    actions: Iterable[str] = (),
) -> dict[str, Any]:
    """Return the metadata of a field; a key without any trains nothing and takes every value of its type.

    Args:
        trains: whether the key changes what is trained or how it acts, so that it enters a run's fingerprint.
        least: smallest number (None: 1 for whole numbers, 0 for others).
        except_for: keys of a node that trains, dotted, that do not.
        composed: whether the value is no key but comes from Hydra: the chosen groups, the command line.
        stored: whether checkpoints and manifests hold the value.
        rest: whether the field holds all keys that have no field of their own.
        actions: the actions of `vgm2p data` that read the key (none given: all).
    """
    return {
        "trains": trains,
        "least": least,
        "except_for": tuple(except_for),
        "composed": composed,
        "stored": stored,
        "rest": rest,
        "actions": tuple(actions),
    }


def settings_of(config: Mapping[str, Any], kind: type[Settings]) -> Settings:
    """Return a resolved configuration of plain containers as the settings of its command.

    Raises:
        ConfigError: for the first key that is unknown, is missing, or has a value that cannot be meant.
    """
    made: Settings = construct(kind, config, "")
    return made


def to_plain(settings: Any) -> dict[str, Any]:
    """Return the plain containers that settings were made of, as checkpoints and manifests store them."""
    plain: dict[str, Any] = {}
    for each in dataclasses.fields(settings):
        value = getattr(settings, each.name)
        if each.metadata.get("rest"):
            plain |= value
        else:
            plain[each.name] = to_plain(value) if dataclasses.is_dataclass(value) else value
    return plain


def construct(cls: type[Any], values: Mapping[str, Any], where: str) -> Any:
    """Return the dataclass `cls` with `values`, nested ones included.

    A field's metadata may hold `least`, the smallest number that it takes (default: 1 for whole numbers, 0 for others),
    and `rest`: the field holds all keys that have no field of their own.

    Raises:
        ConfigError: for an unknown key, or a value of the wrong kind; `where` begins the key's name.
    """
    fields = {field.name: field for field in dataclasses.fields(cls)}
    rest = next((name for name, field in fields.items() if field.metadata.get("rest")), None)
    given = {name: value for name, value in values.items() if rest is None or (name in fields and name != rest)}
    refuse_unknown(given, fields, where)
    missing = [name for name, field in fields.items() if name not in (*values, rest) and _required(field)]
    if missing:
        raise ConfigError(f"{_key(where, missing[0])} is missing; it needs a value")
    hints = get_type_hints(cls)
    made = {
        name: convert(value, hints[name], _key(where, name), fields[name].metadata.get("least"))
        for name, value in given.items()
    }
    if rest is not None:
        made[rest] = {name: value for name, value in values.items() if name not in given}
    return cls(**made)


def arguments(
    target: type[Any],
    values: Mapping[str, Any],
    where: str,
    least: float | None = None,
    given: Iterable[str] = ("spec", "seeds"),
) -> dict[str, Any]:
    """Return `values` as keyword arguments of `target`, each as the constructor's annotation has it.

    Constructors with `**keywords` take those of their base classes, too. Keys that begin with `_` belong to Hydra.

    Args:
        target: the class to be built.
        values: a node of the configuration.
        where: the node's name, for messages.
        least: as for `convert`; classes that are not ours take negative numbers, too.
        given: arguments that are no keys: the caller passes them itself.

    Raises:
        ConfigError: for a key that no constructor takes, or a value of the wrong kind.
    """
    keys = {key: value for key, value in values.items() if not key.startswith("_")}
    least = least if target.__module__.startswith("vgm2p.") else -math.inf
    hints: dict[str, Any] = {}
    makers = list(constructors(target))
    if not makers:
        refuse_unknown(keys, (), where)
    for init in makers:
        found = _hints(init)
        parameters = list(inspect.signature(init).parameters.values())[1:]  # without `self` or `cls`
        named = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        hints = {name: found.get(name, Any) for name in named if name not in given} | hints
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            refuse_unknown(keys, hints, where)
            break
    return {key: convert(value, hints.get(key, Any), f"{where}.{key}", least) for key, value in keys.items()}


def constructors(target: type[Any]) -> Iterator[Any]:
    """Yield the class method `for_run` where there is one, and the `__init__` of the class and of its bases."""
    if hasattr(target, "for_run"):
        yield target.for_run.__func__
    yield from (
        vars(cls)["__init__"] for cls in inspect.getmro(target) if "__init__" in vars(cls) and cls is not object
    )


def _hints(function: Any) -> dict[str, Any]:
    """Return the annotations of a function; none where they name what is imported for type checkers alone."""
    try:
        return get_type_hints(function)
    except NameError:
        return {}


def convert(value: Any, hint: Any, key: str, least: float | None = None) -> Any:
    """Return `value` as the annotation `hint` has it; annotations that are no plain type pass it on unchanged.

    A number becomes text where only text is meant: a folder may be called 2026.

    Args:
        value: of plain containers.
        hint: the annotation.
        key: the key's name, for messages.
        least: smallest number; None: 1 for whole numbers, which count things, and 0 for others.

    Raises:
        ConfigError: naming the key and what it takes.
    """
    options = _options(hint)
    node: Any = next((option for option in options if dataclasses.is_dataclass(option)), None)
    if node is not None and isinstance(value, Mapping):
        return construct(node, value, key)
    choices = [choice for option in options if get_origin(option) is Literal for choice in get_args(option)]
    plain = [dict if option is node else get_origin(option) or option for option in options]
    plain = [option for option in plain if option is not Literal]
    if dataclasses.is_dataclass(value) or not all(option in KINDS for option in plain):
        return value
    if _is_choice(value, choices) or any(_fits(value, option, least) for option in plain):
        return _elements(value, options, key, least) if isinstance(value, list) else value
    if str in plain and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise ConfigError(f"{key} must be {_takes(plain, choices, least)}, got {value!r}")


def refuse_unknown(values: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    """Raise ConfigError for the first key of `values` that is not `known`."""
    names = list(known)
    for key in values:
        if key not in names:
            raise ConfigError(f"unknown key '{_key(where, key)}'" + nearest(str(key), names))


def _key(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _elements(values: list[Any], options: tuple[Any, ...], key: str, least: float | None) -> list[Any]:
    """Return a list with its elements converted, where the annotation names their type."""
    hint = next((get_args(option) for option in options if get_origin(option) is list), ())
    return [convert(value, hint[0], key, least) for value in values] if hint else values


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
    bounds = {int: 1 if least is None else least, float: 0 if least is None else least}
    limits = {kind: "" if bound == -math.inf else f" from {bound:g}" for kind, bound in bounds.items()}
    names = {**NAMES, int: f"a whole number{limits[int]}", float: f"a number{limits[float]}"}
    return " or ".join([*(str(choice) for choice in choices), *(names[option] for option in plain)])


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
