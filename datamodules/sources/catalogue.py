"""The catalogue of published datasets: ids `<source>/<env>/<scenario>/<uid>`, facts from their cards, simulators."""

from __future__ import annotations

import fnmatch
import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

import vgm2p
from vgm2p.errors import ConfigError, DataError, nearest
from vgm2p.io.files import require_file

HUB = "InstaDeepAI/og-marl"  # repository of the datasets on the Hugging Face hub
LARGEST = 1 << 24  # bytes of a catalogue
KINDS = {"str": str, "int": int, "float": float, "None": type(None)}
ROBOTS = {"6halfcheetah": "HalfCheetah-v4", "3hopper": "Hopper-v4", "2ant": "Ant-v4"}


@dataclass(frozen=True)
class Entry:
    """One published dataset. What its card does not say is None. A return is the sum of an episode's team rewards."""

    id: str
    source: str
    env: str
    scenario: str
    uid: str
    hub_path: str
    n_agents: int
    action_kind: str
    episode_limit: int
    layout: str
    paper_table: int | None = None
    obs_dim: int | None = None
    state_dim: int | None = None
    n_actions: int | None = None
    action_dim: int | None = None
    vault_rows: int | None = None
    transitions: int | None = None
    episodes: int | None = None
    return_mean: float | None = None
    return_std: float | None = None
    return_min: float | None = None
    return_max: float | None = None
    zip_bytes: int | None = None
    zip_bytes_approx: int | None = None
    zip_sha256: str | None = None
    uncompressed_bytes_estimate: int | None = None
    obs_preprocessed: str | None = None
    robot: str | None = None
    partition: str | None = None

    @property
    def discrete(self) -> bool:
        """Whether actions are indices (discrete) and not vectors."""
        return self.action_kind == "discrete"

    @property
    def zscored(self) -> bool:
        """Whether an observation is the robot's vector and the agent's one-hot, z-scored per vector (omiga/mujoco)."""
        return "z-scored" in (self.obs_preprocessed or "")

    @property
    def env_id(self) -> str:
        """Name of our environment for these data. If we have none: a name made of source, environment and scenario."""
        if self.source == "omiga" and self.env == "mamujoco" and self.scenario in ROBOTS:
            return ROBOTS[self.scenario]
        if self.env == "gymnasium_mamujoco":
            return f"mamujoco_v1/{self.robot}/{self.partition}/obsk1"
        return (
            f"{self.env}/{self.scenario}" if self.source == "og_marl" else f"{self.source}/{self.env}/{self.scenario}"
        )

    def differences(self, found: Mapping[str, float]) -> list[str]:
        """Return one line per figure that differs from the card. Counts must be equal, returns may differ by 0.1 %."""
        lines = []
        for name, value in found.items():
            wanted = getattr(self, name, None)
            if wanted is None:
                continue
            near = value == wanted if isinstance(wanted, int) else abs(value - wanted) <= 1e-3 * max(1.0, abs(wanted))
            if not near:
                lines.append(f"{name} is {value:g}, the catalogue says {wanted:g}")
        return lines


@functools.cache
def catalogue(extra: str | None = None) -> dict[str, Entry]:
    """Return id -> entry, for the shipped catalogue and for `extra`, the path of a user's catalogue in the same form.

    Raises DataError if a file is not a catalogue.
    """
    shipped = Path(vgm2p.__file__).resolve().parent / "data" / "datasets.yaml"
    entries = _read(shipped)
    return entries | _read(Path(extra)) if extra else entries


def _read(path: Path) -> dict[str, Entry]:
    require_file(path, "no such catalogue; check catalogue=")
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError("too large")
        records: list[dict[str, Any]] = yaml.safe_load(path.read_text())["datasets"]
        entries = [_entry(record) for record in records]
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, RecursionError) as error:
        cause = " ".join(str(error).split())[:80]
        raise DataError(f"{path}: not a catalogue of datasets ({type(error).__name__}: {cause})") from error
    return {entry.id: entry for entry in entries}


def _entry(record: dict[str, Any]) -> Entry:
    """Return an entry. Raises TypeError for a missing field or a wrong type, ValueError for a wrong value."""
    entry = Entry(**{each.name: record[each.name] for each in fields(Entry) if each.name in record})
    for each in fields(Entry):
        kinds, value = [KINDS[word] for word in str(each.type).split(" | ")], getattr(entry, each.name)
        number = float in kinds and isinstance(value, int)
        if value is not None and (isinstance(value, bool) or not (number or isinstance(value, tuple(kinds)))):
            raise TypeError(f"{each.name} of {entry.id} is {value!r}")
    if not entry.id or entry.action_kind not in ("discrete", "continuous"):
        raise ValueError(f"action_kind of {entry.id} is {entry.action_kind!r}")
    return entry


def entry_of(name: str, extra: str | None = None) -> Entry:
    """Return the entry with the id `name`. Raises ConfigError, which suggests the nearest id."""
    known = catalogue(extra)
    if name not in known:
        raise ConfigError(f"dataset '{name}' is unknown{_near(name, known)}; see `vgm2p data list`")
    return known[name]


def select(patterns: Iterable[str], extra: str | None = None) -> list[Entry]:
    """Return the entries whose ids match one of the patterns.

    A pattern is a glob for the whole id. If no id matches the glob, the pattern is searched as a part of the ids.
    Raises ConfigError if a pattern is found in no id.
    """
    known = catalogue(extra)
    found: dict[str, Entry] = {}
    for pattern in patterns:
        ids = [name for name in known if fnmatch.fnmatch(name, pattern)] or [name for name in known if pattern in name]
        if not ids:
            raise ConfigError(f"no dataset matches '{pattern}'{_near(pattern, known)}; see `vgm2p data list`")
        found |= {name: known[name] for name in ids}
    return list(found.values())


def _near(name: str, known: Iterable[str]) -> str:
    close = nearest(name, known)
    return close if "did you mean" in close else ""
