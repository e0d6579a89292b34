"""What the user typed: paths and texts are taken as they are; Hydra's grammar reads all other values."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from vgm2p.config.quoting import INTERPOLATION, in_quotes, quoted
from vgm2p.config.settings import GROUPS

PATHS = (  # keys that name one file or folder
    *("out", "resume", "run", "ckpt", "root", "cache", "catalogue"),
    *("data.root", "data.cache", "data.source.path", "data.source.root", "data.source.cache", "data.source.catalogue"),
)
LISTS = ("files", "runs", "policy", "data.source.paths")  # keys that name files or folders in a list
TEXTS = (
    "label",
    "name",
    "versus",
    "hub",
    "revision",
    "data.name",
    "data.source.revision",
)  # other keys that take only text
KEEPS = {"resume": ("auto", "no")}  # values that are no path, even if a file has this name
SPECIAL = re.compile(r"\$\{|,")  # what means something else in Hydra's grammar, if no such path exists
REFERENCE = re.compile(INTERPOLATION.pattern + r"[\w.]+[:}]")  # to another key, such as ${label}
FUNCTION = re.compile(r"\w+\(.*\)")  # such as choice(a,b)
BETWEEN = re.compile(r"(?<=\])\s*,\s*(?=\[)")  # two lists
ELEMENT = re.compile(r"""\s*("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[^,]*?)\s*(?:,|$)""")


def typed(word: str, several: bool) -> str:
    """Return `key=value` in Hydra's grammar. The value of a key that names paths or text needs no quotes.

    A value that exists as a path is this path. A `~` or `~user` at its beginning becomes the home folder.

    Args:
        word: what the user typed; an option or a word without `=` is returned unchanged.
        several: whether the command starts several runs, so that commas separate values.
    """
    key, equals, value = word.partition("=")
    name = key.lstrip("+")
    if not equals or not value or word.startswith("-") or value in KEEPS.get(name, ()):
        return word
    if name in LISTS and value.startswith("[") and value.endswith("]") and not exists(value):
        return f"{key}={','.join(map(_list, _lists(value) if several else [value]))}"
    if name in (*PATHS, *LISTS, *TEXTS):
        return f"{key}={_text(value, name not in TEXTS, several)}"
    if key.startswith("env.") and value.startswith("{"):
        return f"++{word}"  # an argument with keys of its own, of which the yaml file need not have all
    return f"{key}={_other(key, at_home(value))}"


def exists(text: str) -> bool:
    """Return whether a text is a path that exists."""
    try:
        return bool(text) and Path(text).exists()
    except (OSError, ValueError):  # too long, or a null character
        return False


def at_home(text: str) -> str:
    """Replace a `~` or `~user` at the beginning of a path by the home folder."""
    return os.path.expanduser(text) if text.startswith("~") else text


def paths_at_home(config: Any, name: str = "") -> Any:
    """Return a configuration in which every path that begins with `~` is below the home folder."""
    if isinstance(config, dict):
        return {key: paths_at_home(value, f"{name}.{key}" if name else str(key)) for key, value in config.items()}
    if isinstance(config, list):
        return [paths_at_home(value, name) for value in config]
    return at_home(config) if isinstance(config, str) and name not in TEXTS else config


def _parsed(value: str) -> Override | None:
    """Return a value as Hydra reads it; None if Hydra's grammar does not allow it."""
    try:
        return OverridesParser.create().parse_override(f"key={value}")
    except HydraException:
        return None


def _text(value: str, is_path: bool, several: bool) -> str:
    """Return one path or text in Hydra's grammar. `null` stays null, and several values stay several."""
    if is_path and _is_there(value):
        return quoted(value)
    if value == "null" or (several and FUNCTION.fullmatch(value)):
        return value
    if several and len(split(value)) > 1:
        return ",".join(_text(each, is_path, False) for each in split(value))
    parsed = _parsed(value)
    sweep = parsed is not None and parsed.is_sweep_override()
    if sweep and not FUNCTION.fullmatch(value):
        return value  # Hydra refuses it, because it does not know whether this is one name
    read = None if parsed is None or sweep else parsed.value()
    was_quoted = value[0] in "\"'" and isinstance(read, str)
    meant = str(read) if was_quoted else value
    if is_path:
        meant = at_home(meant)
    if meant == read:
        return value
    return in_quotes(meant) if was_quoted or REFERENCE.search(meant) else quoted(meant)


def _is_there(value: str) -> bool:
    """Return whether a path exists, or lies in an existing folder whose name has a meaning in Hydra's grammar."""
    folders = [str(folder) for folder in Path(value).parents if SPECIAL.search(str(folder))]
    return exists(value) or any(map(exists, folders))


def _list(value: str) -> str:
    """Return a list of paths in Hydra's grammar."""
    parsed = _parsed(value)
    elements = None if parsed is None or parsed.is_sweep_override() else parsed.value()
    if isinstance(elements, list) and all(isinstance(each, str) and each == at_home(each) for each in elements):
        return value
    return "[" + ",".join(_text(each, True, False) for each in split(value[1:-1])) + "]"


def _lists(value: str) -> list[str]:
    """Return the lists of `[a],[b]`."""
    parsed = _parsed(value)
    return [value] if parsed is not None and not parsed.is_sweep_override() else BETWEEN.split(value)


def split(value: str) -> list[str]:
    """Return the values between commas; a comma in quotes separates nothing."""
    return [found for found in ELEMENT.findall(value) if found]


def _other(key: str, value: str) -> str:
    """Return a value of a key that takes more than text. What Hydra's grammar cannot read is put in quotes."""
    if value[0] in "'\"[{":
        return value
    parsed = _parsed(value)
    if parsed is None:
        return in_quotes(value)
    is_name = parsed.is_sweep_override() or isinstance(parsed.value(), str)
    return quoted(value) if key in GROUPS and not is_name else value
