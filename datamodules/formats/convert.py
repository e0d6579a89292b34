"""Files of other programs as sources: recognised, read by the reader of their format, and converted to our layout."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vgm2p.datamodules.formats.d4rl import read_d4rl
from vgm2p.datamodules.formats.found import Found
from vgm2p.datamodules.formats.minari import METADATA, read_minari
from vgm2p.datamodules.formats.omiga import read_omiga
from vgm2p.datamodules.layout.checks import discard_damaged, store_checked
from vgm2p.datamodules.layout.episodes import Episodes, figures
from vgm2p.datamodules.layout.foreign import layout_of
from vgm2p.datamodules.layout.opening import opened
from vgm2p.datamodules.layout.schema import Columns
from vgm2p.datamodules.vaults.clipped import Clipped
from vgm2p.datamodules.vaults.declared import Declared
from vgm2p.envs.robotics import known_team
from vgm2p.envs.team import Team, team_of
from vgm2p.errors import ConfigError
from vgm2p.io.files import sha256_file
from vgm2p.io.text import command
from vgm2p.run.lock import one_at_a_time
from vgm2p.types import NO_ENVIRONMENT

RULES = 2  # version of the rules of conversion; a file in the cache that was made by other rules is not used
TEAM = ("agents", "action_split", "observation_split")
TASK = ("episode_limit", "env_id", "action_scale", "clip")


@dataclass(frozen=True)
class Format:
    """One format: its reader, the keys of `data convert` that it reads, and the layout of rows that it has."""

    read: Callable[[Path, Declared], Found]
    keys: tuple[str, ...]
    rows: str = "native"


FORMATS = {  # as `layout_of` names them
    "D4RL": Format(read_d4rl, (*TEAM, *TASK)),
    "Minari": Format(read_minari, (*TEAM, *TASK)),
    "OMIGA": Format(read_omiga, ("layout", *TASK), "delimiter_row"),
}


def format_of(path: Path) -> str | None:
    """Return the format of an HDF5 file, if there is a reader for it. Raises as `opened`."""
    with opened(path) as file:
        found = None if "schema_version" in file.attrs else layout_of(file)
    return found if found in FORMATS else None


@dataclass(frozen=True)
class Asked:
    """The team that a user names for data of one agent; see `vgm2p.envs.team.team_of`."""

    agents: int | None = None
    action_split: Sequence[Any] | None = None
    observation_split: Sequence[Any] | None = None

    @property
    def names_entries(self) -> bool:
        """Whether the user lists the entries of each agent."""
        return self.action_split is not None or self.observation_split is not None

    def team(self, env_id: str | None, actions: int, width: int) -> Team:
        """Return the split of joint vectors of these widths. Raises ConfigError if it is not known or does not fit."""
        known = known_team(env_id) if env_id else None
        if known is None:
            return team_of(self.agents, self.action_split, self.observation_split, actions, width)
        team, needed = known
        if self.names_entries:
            raise ConfigError(
                f"env_id={env_id} names the split of the team; remove action_split= and observation_split="
            )
        if self.agents not in (None, team.n_agents):
            raise ConfigError(f"agents={self.agents}, but env_id={env_id} has {team.n_agents}; remove agents=")
        own = sum(map(len, team.actions))
        if (needed, own) != (width, actions):
            raise ConfigError(
                f"env_id={env_id} has {needed} observed numbers and {own} actions, the data {width} and {actions}; "
                "name another env_id, or a split"
            )
        return team


class ForeignFile:
    """Source for one file of D4RL, Minari or OMIGA. It is converted once.

    Args:
        path: the file.
        kind: its format, a key of FORMATS.
        cache: folder of converted files.
        say: function that receives lines for the user.
        declared: keys of `data convert` -> values that the user gave.

    Raises:
        ConfigError: for a key that the reader of this format does not read, or a value that `Declared` refuses.
    """

    def __init__(
        self, path: Path, kind: str, cache: Path, say: Callable[[str], None], declared: dict[str, Any]
    ) -> None:
        self.path, self.kind, self.cache, self.say = path, kind, cache, say
        if unread := [key for key in declared if key not in FORMATS[kind].keys]:
            raise ConfigError(f"{path}: {unread[0]}= is not read for a file of {kind}; remove it")
        self.asked = Asked(**{key: declared[key] for key in TEAM if key in declared})
        rest = {key: value for key, value in declared.items() if key not in TEAM}
        self.declared = Declared(**{"layout": FORMATS[kind].rows, **rest})

    @property
    def target(self) -> Path:
        """The converted file in the cache. Its name contains digests of what is read or declared, and of our rules."""
        return self.cache / "own" / f"{self.path.stem}-{sha256_file(self.path)[:8]}-{self._words}.h5"

    @property
    def _words(self) -> str:
        text = f"{RULES} {self.kind} {self.declared.words} {json.dumps(asdict(self.asked), sort_keys=True)}"
        text = " ".join([text, *self._metadata.values()])
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    @property
    def _metadata(self) -> dict[str, str]:
        """The digest of Minari's metadata beside the file, as an attribute; they name the task and its bounds."""
        beside = self.path.with_name(METADATA)
        return {"metadata_sha256": sha256_file(beside)} if self.kind == "Minari" and beside.is_file() else {}

    def renew(self) -> Path:
        """Return the converted file in the cache, verified in full. Make it if it is damaged or does not exist.

        Raises as the reader, and DataError, ConfigError or StorageError as `convert_to`.
        """
        target = self.target
        discard_damaged(target, self.say)
        if not target.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            with one_at_a_time(target.parent / f".{target.stem}.lock", target.name, self.say):
                if not target.is_file():
                    self.convert_to(target)
        return target

    def convert_to(self, target: Path) -> Path:
        """Convert the file into a new file outside the cache, print what was inferred and how to train on it.

        Raises:
            DataError: if the file is damaged or contradicts itself, or breaks a rule of our layout.
            ConfigError: if the team does not fit the file.
            StorageError: if the new file cannot be written.
        """
        found = FORMATS[self.kind].read(self.path, self.declared)
        columns = columns_of(found, self.kind, self.asked, self.declared, self.path)
        facts = json.loads(columns.attributes["facts"])
        for notice in facts["notices"]:
            self.say(f"{self.path.name}: {notice}")
        columns.attributes |= {"source": self.kind.lower(), "source_sha256": sha256_file(self.path), **self._metadata}
        store_checked(self.path, target, columns)
        self.say(f"train on it   {command('fit', *training_words(target, columns))}")
        return target


def columns_of(found: Found, kind: str, asked: Asked, declared: Declared, path: Path) -> Columns:
    """Return what a reader found, in our layout, with a row for each final observation that is stored.

    Raises as `Asked.team` and `Clipped.require_declared`.
    """
    episodes = Episodes(found.length, found.end, finals=found.finals is not None)
    attributes = dict(found.attributes)
    stored_id = attributes.pop("env_id", None)
    env_id = declared.env_id or stored_id
    env_kwargs = json.loads(attributes.pop("env_kwargs", "{}"))
    name = attributes.pop("name", path.stem)
    facts: dict[str, Any] = {"format": kind}
    actions, steps = found.actions, dict(found.steps)
    if found.observations.ndim == 2:
        team = asked.team(env_id, actions.shape[1], found.observations.shape[1])
        actions = team.split_actions(actions)
        facts |= asdict(team)
        if asked.names_entries:
            env_kwargs |= team.arguments(found.observations.shape[1])
        joint = episodes.spread(found.observations, found.finals)
        if team.observations is None:
            steps["robot_observation"] = joint
        else:
            steps |= {"observations": team.observe(joint), "state": joint}
            attributes["stored_view"] = "native"
    else:
        steps["observations"] = found.observations
    if declared.action_scale is not None:
        actions = (actions.astype(np.float64) / declared.action_scale).astype(np.float32)
    clipped = Clipped("write them with vgm2p.write_dataset")
    clipped.add(actions, found.rows)
    clipped.require_declared(str(path), declared)
    steps |= {"actions": episodes.spread(actions), "rewards": episodes.spread(found.rewards)}
    columns = episodes.columns(steps, {})
    facts |= {**clipped.facts(declared), **figures(columns.episodes)}
    columns.attributes = {
        "name": name,
        "n_agents": actions.shape[1],
        "action_dim": actions.shape[2],
        "discrete": 0,
        "episode_limit": found.limit,
        "env_id": env_id or f"{NO_ENVIRONMENT}{name}",
        "env_kwargs": json.dumps(env_kwargs, sort_keys=True),
        **attributes,
        "action_limit": facts["action_limit"],
        "facts": json.dumps({**facts, "notices": [*found.notices, *clipped.notices(declared)]}, sort_keys=True),
    }
    return columns


def training_words(target: Path, columns: Columns) -> list[str]:
    """Return the words of `fit` that train on a converted file, without an environment."""
    attributes, finals = columns.attributes, not columns.steps["has_action"].all()
    view = "raw_onehot" if "robot_observation" in columns.steps else attributes["stored_view"]
    timeouts = [] if finals else ["data.timeouts=terminal"]
    return ["data=files", f"data.source.paths=[{target}]", f"data.view={view}", *timeouts, "evaluate=none"]
