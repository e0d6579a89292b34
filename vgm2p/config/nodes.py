"""Typed configurations: a mapping becomes a frozen dataclass; the type annotations decide about nested mappings.

A node is data. The annotation decides what is built from it, never a name inside the node.
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
MISSING = "???"  # the value of a key in conf/ that the user must give
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
    """Return the metadata of a settings field. A field without metadata has these defaults.

    Args:
        trains: whether the key changes training or acting; such keys are part of a run's fingerprint.
        least: smallest number; None: 1 for whole numbers, 0 for others.
        except_for: dotted keys of a node with `trains` that do not change training.
        composed: whether Hydra gives the value (chosen groups, command line) and the user cannot set it as a key.
        stored: whether checkpoints and manifests contain the value.
        rest: whether the field contains all keys that have no field of their own.
        actions: the actions of `vgm2p data` that read the key; empty: all.
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
    """Return the settings of a command from its resolved configuration (plain containers).

    Raises:
        ConfigError: for the first key that is unknown or missing, or whose value is wrong.
    """
    made: Settings = construct(kind, config, "")
    return made


def to_plain(settings: Any) -> dict[str, Any]:
    """Return settings as plain containers (the inverse of `settings_of`), as checkpoints and manifests store them."""
    plain: dict[str, Any] = {}
    for each in dataclasses.fields(settings):
        value = getattr(settings, each.name)
        if each.metadata.get("rest"):
            plain |= value
        else:
            plain[each.name] = to_plain(value) if dataclasses.is_dataclass(value) else value
    return plain


def construct(cls: type[Any], values: Mapping[str, Any], where: str) -> Any:
    """Return the dataclass `cls` with `values`, including nested dataclasses.

    The metadata of a field may have `least` and `rest` (see `key`). `where` is the dotted name of the node.

    Raises:
        ConfigError: for an unknown or missing key, or a value of the wrong type.
    """
    fields = {field.name: field for field in dataclasses.fields(cls)}
    rest = next((name for name, field in fields.items() if field.metadata.get("rest")), None)
    given = {name: value for name, value in values.items() if rest is None or (name in fields and name != rest)}
    refuse_unknown(given, fields, where)
    missing = [name for name, field in fields.items() if name not in (*values, rest) and _required(field)]
    if missing:
        raise _missing(where, missing[0])
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
    """Return `values` as keyword arguments of the class `target`, converted by the annotations of its constructor.

    A constructor with `**keywords` also takes the arguments of its base classes. Keys that begin with `_` are Hydra's.

    Args:
        target: the class to be built.
        values: a node of the configuration.
        where: dotted name of the node, for messages.
        least: as in `convert`; a class that is not ours may also have negative numbers.
        given: arguments that the caller passes itself; they are not keys.

    Raises:
        ConfigError: for a key that no constructor takes or that has no value yet, or a value of the wrong type.
    """
    keys = {key: value for key, value in values.items() if not key.startswith("_")}
    for key, value in keys.items():
        if value == MISSING:
            raise _missing(where, key)
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
    """Yield the class method `for_run`, if there is one, then the `__init__` of the class and of its base classes."""
    if hasattr(target, "for_run"):
        yield target.for_run.__func__
    yield from (
        vars(cls)["__init__"] for cls in inspect.getmro(target) if "__init__" in vars(cls) and cls is not object
    )


def _hints(function: Any) -> dict[str, Any]:
    """Return the annotations of a function; empty if they cannot be evaluated (imports for type checkers only)."""
    try:
        return get_type_hints(function)
    except Exception:  # an annotation in the code of a user may be any expression
        return {}


def convert(value: Any, hint: Any, key: str, least: float | None = None) -> Any:
    """Return `value` converted to the type of the annotation `hint`. For types other than plain ones, it is unchanged.

    A number becomes text if only text is allowed: a folder may be called 2026.

    Args:
        value: plain containers.
        hint: the annotation.
        key: dotted name of the key, for messages.
        least: smallest number; None: 1 for whole numbers, which are counts, and 0 for others.

    Raises:
        ConfigError: if the value is wrong; the message says which values are allowed.
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
    """Raise ConfigError for the first key of `values` that is not in `known`."""
    names = list(known)
    for key in values:
        if key not in names:
            raise ConfigError(f"unknown key '{_key(where, key)}'" + nearest(str(key), names))


def _missing(where: str, name: str) -> ConfigError:
    return ConfigError(f"{_key(where, name)} is missing; give it a value")


def _key(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _elements(values: list[Any], options: tuple[Any, ...], key: str, least: float | None) -> list[Any]:
    """Return a list with its elements converted, if the annotation names their type."""
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
        low = 0 if least is None else least
        return isinstance(value, int | float) and value >= low and (value < math.inf or low == -math.inf)
    return isinstance(value, option)


def _takes(plain: list[Any], choices: list[Any], least: float | None) -> str:
    bounds = {int: 1 if least is None else least, float: 0 if least is None else least}
    limits = {kind: "" if bound == -math.inf else f" from {bound:g}" for kind, bound in bounds.items()}
    names = {**NAMES, int: f"a whole number{limits[int]}", float: f"a number{limits[float]}"}
    return " or ".join([*(str(choice) for choice in choices), *(names[option] for option in plain)])


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
