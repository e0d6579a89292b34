"""The keys of all commands other than `fit`, and the settings class of every command."""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from vgm2p.config.nodes import key
from vgm2p.config.settings import FitSettings, Node, check_acting
from vgm2p.errors import ConfigError, nearest
from vgm2p.groups import Net


def listed(given: Any) -> list[Any]:
    """Return what was given as a list: a list itself, nothing, or a single value."""
    return given if isinstance(given, list) else [] if given is None else [given]


@dataclass(frozen=True)
class EvaluateSettings:
    """The keys of `vgm2p evaluate`; conf/evaluate.yaml explains them."""

    run: str | None
    ckpt: str | None
    hub: str | None
    episodes: int
    act_noise: Any
    video: bool
    replay: bool
    device: Literal["cpu", "cuda"]
    env: Node | None
    data: Node
    workers: int | None
    timeout: float | None
    out: str | None

    def __post_init__(self) -> None:
        """Raise ConfigError unless exactly one policy is named; also for a wrong timeout or way to act."""
        named = [name for name in (self.run, self.ckpt, self.hub) if name]
        if len(named) != 1:
            one = ", only one of them" if named else ""
            raise ConfigError(f"evaluate needs run=<run folder>, ckpt=<checkpoint file> or hub=<owner>/<name>{one}")
        if self.timeout is not None and not 0 < self.timeout < math.inf:
            raise ConfigError(f"timeout must be a number of seconds above 0, got {self.timeout!r}")
        check_acting(self.ways, "act_noise")

    @property
    def policy(self) -> str:
        """The name of the policy, as `vgm2p.load` takes it."""
        return self.run or self.ckpt or f"hub:{self.hub}"

    @property
    def ways(self) -> list[Any]:
        """The requested ways to act; empty: all of `EVERY_WAY` and the default."""
        return listed(self.act_noise)

    def environment(self, view: str) -> Node | None:
        """The requested environment, with `view` where none is requested; None: that of the run."""
        if self.env is None or self.env.get("view", view) is not None:
            return self.env
        return {**self.env, "view": view}


@dataclass(frozen=True)
class EstimateSettings:
    """`vgm2p estimate`; each key is explained in conf/estimate.yaml."""

    run: str | None
    runs: list[Any]
    data: Node | None
    act_noise: Any
    propose: bool
    gamma: float
    share: float
    critics: int
    updates: int = field(metadata=key(least=2))
    batch: int
    draws: int
    lr: float
    tau: float
    seed: int = field(metadata=key(least=0))
    net: Net
    device: Literal["cpu", "cuda"]
    out: str | None

    def __post_init__(self) -> None:
        """Raise ConfigError where no run is named, and for numbers that make no estimate."""
        if (not self.run) == (not self.runs) and not (self.propose and not self.run and self.data):
            both = ", not both" if self.run else ""
            raise ConfigError(f"estimate needs run=<run folder> or runs=[<run folder>,...]{both}")
        if self.propose and not self.names and self.act_noise is not None:
            raise ConfigError("act_noise= is for a policy; name its run, run=<run folder>")
        if self.propose and self.out is not None:
            raise ConfigError("out= is for a ranking; a proposal is written to proposal.json in the run folder")
        if not self.gamma < 1.0:
            raise ConfigError(f"gamma must be below 1, got {self.gamma}; 0.995 looks about 200 steps ahead")
        if not 0.0 < self.share < 1.0:
            raise ConfigError(f"share must be above 0 and below 1, got {self.share}; 0.1 holds out a tenth")
        if not self.lr > 0.0:
            raise ConfigError(f"lr must be above 0, got {self.lr}; 1e-3 is usual")
        if not 0.0 < self.tau <= 1.0:
            raise ConfigError(f"tau must be above 0 and at most 1, got {self.tau}")
        check_acting(self.ways, "act_noise")

    @property
    def names(self) -> list[str]:
        """The requested runs."""
        return [self.run] if self.run else [str(name) for name in self.runs]

    @property
    def ways(self) -> list[Any]:
        """The requested ways to act."""
        return listed(self.act_noise)


@dataclass(frozen=True)
class ViewSettings:
    """The node `data` of `vgm2p collect`."""

    view: str


@dataclass(frozen=True)
class CollectSettings:
    """The keys of `vgm2p collect`; conf/collect.yaml explains them."""

    env: Node
    policy: str | list[str]
    noise: float | list[float]
    episodes: int | list[int]
    first_episode: int = field(metadata=key(least=0))
    name: str | None
    out: str | None
    data: ViewSettings

    def __post_init__(self) -> None:
        """Raise ConfigError unless a policy and an HDF5 file are named."""
        if self.policy == []:
            raise ConfigError("policy=[] names no policy; give random, heuristic or a run folder")
        if self.target.suffix != ".h5":
            raise ConfigError(f"collect needs out=<file>.h5, got {self.out!r}")

    @property
    def target(self) -> Path:
        """The file to write."""
        return Path(self.out or "")


ACTIONS = ("list", "fetch", "convert", "show", "check")


@dataclass(frozen=True)
class DataSettings:
    """The keys of `vgm2p data`; conf/data.yaml explains them."""

    action: str
    files: list[Any]
    root: str
    cache: str
    revision: str | None = field(metadata=key(actions=("fetch", "convert")))
    catalogue: str | None
    out: str | None = field(metadata=key(actions=("convert", "show")))
    agents: int | None = field(metadata=key(actions=("convert",)))
    action_split: list[Any] | None = field(metadata=key(actions=("convert",)))
    observation_split: list[Any] | None = field(metadata=key(actions=("convert",)))
    layout: str | None = field(metadata=key(actions=("convert",)))
    episode_limit: int | None = field(metadata=key(actions=("convert",)))
    env_id: str | None = field(metadata=key(actions=("convert",)))
    discrete: bool | None = field(metadata=key(actions=("convert",)))
    action_scale: float | None = field(metadata=key(actions=("convert",)))
    clip: bool | None = field(metadata=key(actions=("convert",)))

    @property
    def declared(self) -> dict[str, Any]:
        """What the user declares about an own vault or a file of another program: the keys that were given."""
        names = [each.name for each in dataclasses.fields(self) if each.metadata.get("actions") == ("convert",)]
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def __post_init__(self) -> None:
        """Raise ConfigError for an unknown action, and for a key that the action does not read."""
        if self.action not in ACTIONS:
            raise ConfigError(f"data has no action '{self.action}'{nearest(self.action, ACTIONS)}")
        for each in dataclasses.fields(self):
            actions = each.metadata.get("actions")
            if actions and self.action not in actions and getattr(self, each.name) is not None:
                readers = " and ".join(f"data {action}" for action in actions)
                raise ConfigError(f"data {self.action} does not read {each.name}=; {readers} do")


@dataclass(frozen=True)
class ReportSettings:
    """The keys of `vgm2p report`; conf/report.yaml explains them."""

    runs: list[Any]
    out: str
    html: str | None
    table: Literal[1, 2] | None
    normalised: bool
    iqm: bool
    improvement: bool
    evaluations: bool
    versus: str | None
    acting: Literal["own", "best"]

    def __post_init__(self) -> None:
        """Raise ConfigError if no run is named, and for keys that the chosen tables do not read."""
        if self.table is not None and (self.html is not None or self.acting == "best"):
            raise ConfigError(f"table={self.table} reads neither html= nor acting=; leave them out")
        if self.table is not None and self.versus is not None and not self.improvement:
            raise ConfigError(f"table={self.table} reads versus= only with improvement=true")
        if self.table is None and self.normalised:
            raise ConfigError("normalised=true is for the tables of the paper; add table=1 or table=2")
        if self.table is None and self.improvement and self.versus is None:
            raise ConfigError("improvement=true compares with a method; name it with versus=<method>")
        if not self.runs and self.table is None:
            raise ConfigError("report needs run folders, e.g. `vgm2p report runs/quickstart/*/*`")
        if self.acting == "best" and self.versus is None:
            raise ConfigError("acting=best is for differences; name a method with versus=<method>")


FORMATS = ("safetensors", "onnx", "torch")
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)  # on the Hugging Face hub


@dataclass(frozen=True)
class ExportSettings:
    """The keys of `vgm2p export`; conf/export.yaml explains them."""

    run: str | None
    formats: Any
    agent: Any
    seed: int | None = field(metadata=key(least=0))
    act_noise: Any
    out: str | None
    hub: str | None
    private: bool

    def __post_init__(self) -> None:
        """Raise ConfigError if no run is named, and for a wrong format, agent, way to act or repository."""
        if not self.run:
            raise ConfigError("export needs run=<run folder>, the folder that `vgm2p fit` printed")
        for name in listed(self.formats):
            if name not in FORMATS:
                raise ConfigError(f"formats takes safetensors, onnx, torch or a list of them, got {name!r}")
        for who in self.whose:
            if who != "team" and (type(who) is not int or who < 0):
                raise ConfigError(f"agent takes team, the number of an agent, or a list of them, got {who!r}")
        if isinstance(self.act_noise, list):
            raise ConfigError(f"act_noise={self.act_noise}: an export acts in one way; give one")
        check_acting(listed(self.act_noise), "act_noise")
        if self.hub is not None and not REPOSITORY.fullmatch(self.hub):
            raise ConfigError(f"hub takes the repository's name, <owner>/<name>, got {self.hub!r}")
        if self.private and self.hub is None:
            raise ConfigError("private=true is for a repository on the hub; give hub=<owner>/<name>, too")

    @property
    def whose(self) -> list[Any]:
        """For whom graphs are made: `team`, or numbers of agents."""
        return listed(self.agent) or ["team"]


@dataclass(frozen=True)
class DoctorSettings:
    """The keys of `vgm2p doctor`; conf/doctor.yaml explains them."""

    root: str


SETTINGS: dict[str, type[Any]] = {
    "fit": FitSettings,
    "evaluate": EvaluateSettings,
    "estimate": EstimateSettings,
    "collect": CollectSettings,
    "data": DataSettings,
    "report": ReportSettings,
    "export": ExportSettings,
    "doctor": DoctorSettings,
}
