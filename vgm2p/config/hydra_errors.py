"""Turns Hydra's errors of several lines into one line, with the nearest known name."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from difflib import SequenceMatcher, get_close_matches
from typing import TypeVar

from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vgm2p.config.compose import composed, file_keys, groups, options
from vgm2p.config.quoting import quoted
from vgm2p.config.settings import GROUPS, WRONG_CLOCK, wrong_clock
from vgm2p.config.typed import PATHS, TEXTS
from vgm2p.errors import CLOSE, ConfigError, MissingInput, UserError, nearest
from vgm2p.run.fingerprint import leaves

Result = TypeVar("Result")
OVERRIDE = re.compile(r"Could not override '(?P<key>[^']+)'")
GROUP = re.compile(r"Could not find '(?P<choice>[^']+)'")
AMBIGUOUS = re.compile(r"Ambiguous value for argument '(?P<word>[^']+)'")
NO_GROUP = re.compile(r"Could not (?:override|find match for) '(?P<group>[^'@]+)'.*No match in the defaults list", re.S)

NO_VALUE = re.compile(r"Missing mandatory value: (\S+)")  # a key that is ??? in conf/
EXTRAS = {  # a file of a Hydra plugin -> the extra of pyproject.toml that installs it
    "hydra/launcher/joblib": "joblib",
    "hydra/launcher/submitit_slurm": "slurm",
    "hydra/launcher/submitit_local": "slurm",
    "hydra/launcher/ray": "ray",
    "hydra/sweeper/optuna": "optuna",
}
NODES = ("algo", "net", "optim", "data", "env", "trainer", "callbacks", "logger")  # groups whose name begins their keys
SHARED_GROUPS = ("net", "optim")  # groups that algorithms use by interpolation, such as `net: ${net}`


def explained(command: str, run: Callable[[], Result]) -> Result:
    """Return the result of `run`, which composes a configuration. Raises UserError in place of an error of Hydra."""
    try:
        return run()
    except (HydraException, OmegaConfBaseException) as error:
        raise explain(error, command) from error


def explain(error: Exception, command: str) -> UserError:
    """Return the error of one line for a configuration that Hydra or OmegaConf refused."""
    text = str(error)
    if isinstance(error, OverrideParseException):
        return ConfigError(f"'{error.override}' cannot be parsed ({text.splitlines()[0]}); quote it: 'key=[\"a b\",c]'")
    if found := AMBIGUOUS.search(text):
        key, _, values = found["word"].partition("=")
        if key in GROUPS:
            return ConfigError(f"{key} takes one name; -m starts several runs: `vgm2p {command} -m {key}={values}`")
        one, what = (quoted(values), "name") if key in (*PATHS, *TEXTS) else (f"[{values}]", "list")
        word = shlex.quote(f"{key}={one}")
        return ConfigError(f"{key} has several values: use -m to start several runs, or {word} for one {what}")
    for name, extra in EXTRAS.items():
        if f"Could not find '{name}'" in text:
            return MissingInput(
                f"{'='.join(name.rsplit('/', 1))} needs the extra {extra}; `pip install 'vgm2p[{extra}]'`"
            )
    for pattern, answer in ((NO_GROUP, _group_key), (GROUP, _choice)):
        if found := pattern.search(text):
            return ConfigError(answer(found.group(1), command))
    if found := NO_VALUE.search(text):
        return ConfigError(f"{found.group(1)} is missing; give it a value")
    if found := OVERRIDE.search(text):
        return ConfigError(_key(found["key"], command, _keys_there(error.__cause__)))
    first = next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
    cause = error.__cause__
    detail = f" ({str(cause).splitlines()[0]})" if isinstance(cause, HydraException) and str(cause) else ""
    return ConfigError(f"{first}{detail}; see `vgm2p {command} --help`")


def _key(key: str, command: str, there: Sequence[str]) -> str:
    """Return the message for an unknown key. `there`: the keys that the chosen files have in the same node."""
    for group in SHARED_GROUPS:
        if key.startswith(f"algo.{group}.") and not there:
            return f"unknown key '{key}'; use '{key.removeprefix('algo.')}', which sets it for all networks of the run"
    group, _, name = key.partition(".")
    if group == "trainer" and name in WRONG_CLOCK:
        return wrong_clock(name)
    known = known_keys(command)
    if key in known or key in _keys_of_others(group):
        return f"unknown key '{key}': the chosen files of conf/ do not have it{_elsewhere(key)}"
    return f"unknown key '{key}'{_near_key(key, [*there, *known], command)}"


def _near_key(key: str, known: Sequence[str], command: str) -> str:
    """Return the hint about an unknown key: a known one with the same or nearly the same last part.

    Else a key that another file of the group has, else the command that shows all keys.
    """
    for names in (known, list(_keys_of_others(key.partition(".")[0]))):
        last = {name.rpartition(".")[2] for name in names}
        for part in get_close_matches(key.rpartition(".")[2], last, n=1, cutoff=CLOSE):
            same = [name for name in names if name.rpartition(".")[2] == part]
            closest = max(same, key=lambda name: SequenceMatcher(None, key, name).ratio())
            return f"; did you mean '{closest}'?" + (
                "" if closest in known else _elsewhere(closest).replace(";", "", 1)
            )
    return f"; `vgm2p {command} --help` shows the keys"


def _keys_of_others(group: str) -> Iterator[str]:
    """Yield the dotted keys of all files of a group that are not templates of other groups."""
    for name in options(group) if group in NODES else ():
        yield from (f"{group}.{key}" for key in file_keys(group, name))


def _keys_there(cause: BaseException | None) -> list[str]:
    """Return the dotted keys of the node in which OmegaConf did not find a key.

    For a node such as `net: ${net}`, there are none, because the new key has replaced `${net}` by an empty node.
    """
    if not isinstance(cause, OmegaConfBaseException) or not isinstance(node := cause.parent_node, DictConfig):
        return []
    *place, _ = str(cause.full_key).split(".")
    keys = {prefix for key, _ in leaves(OmegaConf.to_container(node), ".".join(place)) for prefix in _prefixes(key)}
    return sorted(key for key in keys - set(_prefixes(".".join(place))) if not key.startswith("hydra"))


def _elsewhere(key: str) -> str:
    """Return a file of the key's group that has the key, for example `; algo=vgm2p_switches has it`."""
    group, _, rest = key.partition(".")
    found = [name for name in (options(group) if group in NODES else ()) if rest in file_keys(group, name)]
    return f"; {group}={found[-1]} has it" if found else ""


def _group_key(key: str, command: str) -> str:
    return f"unknown key '{key}'{_near_key(key, [*known_keys(command), *groups()], command)}"


def _choice(choice: str, command: str) -> str:
    group, _, name = choice.rpartition("/")
    known = options(group)
    if not known and "/" in group:  # for env=mamujoco/x, the group is the first folder
        first, _, rest = choice.partition("/")
        if known := options(first):
            group, name = first, rest
    return f"unknown {group} '{name}'{nearest(name, known, f'vgm2p {command} --help {group}')}"


def known_keys(command: str) -> list[str]:
    """Return every dotted key that a user may set in the default configuration of a command, including nodes."""
    keys = {prefix for key, _ in leaves(composed(command)) for prefix in _prefixes(key)}
    shared = tuple(f"algo.{group}." for group in SHARED_GROUPS)
    return sorted(key for key in keys if not f"{key}.".startswith((*shared, "hydra.")))


def _prefixes(key: str) -> Iterator[str]:
    parts = key.split(".")
    for length in range(1, len(parts) + 1):
        yield ".".join(parts[:length])
