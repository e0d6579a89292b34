"""The keys of `fit` as frozen dataclasses: their types, ranges, and whether they change training.

The names of the fields are the names of the keys. Values come from the yaml files of `conf/` and from the command line;
no field has a default here.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from vgm2p.config.nodes import key
from vgm2p.errors import ConfigError, nearest
from vgm2p.groups import Net, Optim, over_run
from vgm2p.run.ways import NAMED, is_way

Node = dict[str, Any]  # a group: `_target_` names a class, the other keys are its arguments
PLACES = (  # keys of `data` that do not change the data: folders, checks, memory, the kind of actions
    *("root", "cache", "verify", "max_resident"),
    *("source.root", "source.cache", "source.discrete"),
)
PAPER = "paper"  # the default protocol: the settings in the files of conf/
GROUPS = (  # folders of conf/
    "experiment",
    "protocol",
    "algo",
    "tuned",
    "net",
    "optim",
    "data",
    "env",
    "trainer",
    "logger",
    "callbacks",
)
WRONG_CLOCK = (  # keys of Lightning's Trainer that count batches, epochs or seconds instead of updates
    "max_steps",
    "max_epochs",
    "min_steps",
    "min_epochs",
    "max_time",
    "val_check_interval",
    "check_val_every_n_epoch",
    "accumulate_grad_batches",
    "gradient_clip_val",
    "limit_train_batches",
    "limit_val_batches",
    "overfit_batches",
    "fast_dev_run",
    "log_every_n_steps",
)
OURS = (  # keys of Lightning's Trainer that the program itself sets
    "logger",
    "callbacks",
    "plugins",
    "strategy",
    "num_nodes",
    "enable_checkpointing",
    "enable_progress_bar",
    "enable_model_summary",
    "num_sanity_val_steps",
    "use_distributed_sampler",
)


@dataclass(frozen=True)
class TrainerSettings:
    """The group `trainer`: device, precision and threads. Other keys go to Lightning's Trainer unchanged."""

    accelerator: Literal["auto", "cpu", "cuda"]
    devices: Any
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = field(metadata=key(trains=True))
    tf32: bool = field(metadata=key(trains=True))
    threads: Literal["auto"] | int
    capture: Literal["auto"] | bool
    lightning: Node = field(metadata=key(rest=True))

    def __post_init__(self) -> None:
        """Raise ConfigError for more than one device, and for keys that Lightning's Trainer lacks or must not get."""
        if self.devices != 1:
            count = self.devices if isinstance(self.devices, int) and 1 < self.devices <= 16 else 2
            seeds = ",".join(map(str, range(count)))
            raise ConfigError(
                f"trainer.devices={self.devices}: one run uses one device; this gives each device a run:",
                f"vgm2p fit -m seed={seeds} hydra/launcher=joblib",
            )
        for name in self.lightning:
            _check_lightning(name)


@dataclass(frozen=True)
class PolicySettings:
    """The settings from which a trained policy is built again.

    Attributes:
        algorithm: name of the algorithm in tables.
        environment: name of the environment's yaml file.
        seed: first training seed.
        seeds: number of training seeds.
        algo: node of the algorithm.
        env: node of the environment.
        data: node of the dataset that it was trained on; None where a file does not name it.
        precision: precision of the training.
    """

    algorithm: str
    environment: str
    seed: int = field(metadata=key(least=0))
    seeds: int
    algo: Node
    env: Node
    data: Node | None
    precision: str

    @property
    def all_seeds(self) -> list[int]:
        """The training seeds: `seed=3 seeds=2` means 3 and 4."""
        return list(range(self.seed, self.seed + self.seeds))


@dataclass(frozen=True)
class FitSettings:
    """The keys of `vgm2p fit`; conf/fit.yaml and the files of its groups explain them.

    Tables name a run by `algorithm`: its label or `algo_name`, and its protocol. `algo_name` is the file of conf/algo.
    """

    experiment: str = field(metadata=key(composed=True))
    algorithm: str = field(metadata=key(composed=True))
    algo_name: str = field(metadata=key(composed=True))
    environment: str = field(metadata=key(composed=True))
    protocol: str = field(metadata=key(composed=True))
    tuned: str | None = field(metadata=key(composed=True))
    overrides: list[str] = field(metadata=key(composed=True, stored=False))
    seed: int = field(metadata=key(trains=True, least=0))
    seeds: int = field(metadata=key(trains=True))
    updates: int
    block_updates: Literal["auto"] | int
    log_every: Literal["auto"] | int
    eval_every: int
    eval_episodes: int
    eval_acting: Literal["auto"] | list[Any]
    eval_async: Literal["auto"] | bool
    eval_precision: Literal["float32", "bf16"]
    checkpoint_every: int
    checkpoint_keep: int
    evaluate: Literal["auto", "none"]
    compare: list[str]
    resume: str
    label: str | None
    out: str
    algo: Node = field(metadata=key(trains=True))
    net: Net = field(metadata=key(trains=True))
    optim: Optim = field(metadata=key(trains=True))
    data: Node = field(metadata=key(trains=True, except_for=PLACES))
    env: Node = field(metadata=key(trains=True, except_for=("workers", "timeout")))
    trainer: TrainerSettings = field(metadata=key(trains=True))
    logger: Node = field(metadata=key(stored=False))  # name -> a node with a class, or null
    callbacks: Node = field(metadata=key(stored=False))

    def __post_init__(self) -> None:
        """Raise ConfigError for an unknown way to act, an empty `out`, or a `label` that is no name."""
        check_acting(self.eval_acting if isinstance(self.eval_acting, list) else [], "eval_acting")
        if not self.out:
            raise ConfigError("out= names no folder; give a folder, or remove out=")
        if self.label is not None and {"", ".", ".."} & set(self.label.split("/")):
            raise ConfigError(f"label={self.label} is a part of the run folder; it must be a name, without . and ..")

    @property
    def policy(self) -> PolicySettings:
        """The settings from which the trained policy can be built again."""
        return PolicySettings(
            self.algorithm,
            self.environment,
            self.seed,
            self.seeds,
            over_run(self.algo, self.updates),
            self.env,
            self.data,
            self.trainer.precision,
        )


def training_part(config: Mapping[str, Any], kind: type[Any] = FitSettings) -> dict[str, Any]:
    """Return the keys of a configuration that change training: no intervals, folders, devices or logs.

    A group that an algorithm uses by interpolation (`net: ${net}`) appears once, under the name that a user types.
    """
    part: dict[str, Any] = {}
    for each in dataclasses.fields(kind):
        if not each.metadata.get("trains"):
            continue
        value = config.get(each.name)
        if each.name == "trainer":
            part[each.name] = training_part(value if isinstance(value, Mapping) else {}, TrainerSettings)
        else:
            part[each.name] = _without(value, each.metadata["except_for"])
    if isinstance(part.get("algo"), Mapping):
        part["algo"] = {name: value for name, value in part["algo"].items() if name not in part or value != part[name]}
    return part


FIT_KEYS = tuple(each.name for each in dataclasses.fields(FitSettings) if not each.metadata.get("composed"))


def stored_part(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of a configuration that files store. Loggers and callbacks may contain secrets: not stored."""
    kept = [each.name for each in dataclasses.fields(FitSettings) if each.metadata.get("stored", True)]
    return {name: config[name] for name in kept if name in config}


def check_acting(ways: Iterable[Any], name: str) -> None:
    """Raise ConfigError if a way to act is neither a scale of the start noise nor a name."""
    for way in ways:
        if way is None or not is_way(way):
            raise ConfigError(f"{name} takes scales of the start noise (from 0) or {', '.join(NAMED)}, got {way!r}")


def _without(node: Any, keys: Iterable[str]) -> Any:
    if not isinstance(node, Mapping):
        return node
    kept = {name: value for name, value in node.items() if name not in keys}
    for name, value in kept.items():
        below = [dotted.removeprefix(f"{name}.") for dotted in keys if dotted.startswith(f"{name}.")]
        kept[name] = _without(value, below) if below else value
    return kept


def wrong_clock(name: str) -> str:
    """Return the line about a key of Lightning's Trainer that is in `WRONG_CLOCK`."""
    return (
        f"trainer.{name} counts batches or optimiser steps, which are not updates; "
        "use updates, log_every, eval_every, checkpoint_every or optim.clip_norm"
    )


def _check_lightning(name: str) -> None:
    if name in WRONG_CLOCK:
        raise ConfigError(wrong_clock(name))
    if name in OURS:
        raise ConfigError(f"trainer.{name} is set by the program; use the groups logger and callbacks, or remove it")
    from lightning import Trainer  # slow to import, and rarely needed here

    own = [each.name for each in dataclasses.fields(TrainerSettings) if not each.metadata.get("rest")]
    others = [known for known in inspect.signature(Trainer.__init__).parameters if known not in ("self", *WRONG_CLOCK)]
    if name not in others:
        raise ConfigError(f"unknown key 'trainer.{name}'{nearest(name, {*own, *others} - {*OURS})}")
