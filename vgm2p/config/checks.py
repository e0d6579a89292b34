"""Checks of a resolved configuration before anything is loaded: unknown keys, wrong values, pairs that cannot work."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, get_args, get_type_hints

import torch

from vgm2p.algos.contract import Algorithm
from vgm2p.errors import ConfigError, nearest
from vgm2p.run.folder import SHARED
from vgm2p.types import Spec

TOP_LEVEL = (
    "experiment",
    "algorithm",
    "environment",
    "seed",
    "seeds",
    "updates",
    "block_updates",
    "eval_every",
    "eval_episodes",
    "eval_acting",
    "eval_async",
    "eval_precision",
    "checkpoint_every",
    "checkpoint_keep",
    "evaluate",
    "compare",
    "resume",
    "out",
    "label",
    "algo",
    "net",
    "optim",
    "data",
    "env",
    "trainer",
    "logger",
    "callbacks",
    "overrides",
)
GROUPS = {
    "trainer": ("accelerator", "capture", "devices", "precision", "tf32", "threads"),
    "logger": ("every", "tensorboard"),
    "callbacks": ("progress_seconds", "plot"),
}
WRONG_CLOCK = (
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
    "fast_dev_run",
)
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
COUNTS = ("seeds", "updates", "eval_every", "eval_episodes", "checkpoint_every", "checkpoint_keep")


def check(config: Mapping[str, Any]) -> None:
    """Raise ConfigError for the first thing that cannot be meant."""
    _known(config, TOP_LEVEL, "")
    for key in WRONG_CLOCK:
        if key in config["trainer"]:
            raise ConfigError(
                f"trainer.{key} counts batches or optimiser steps, which are not updates; "
                "use updates, eval_every, checkpoint_every or optim.clip_norm"
            )
    for group, keys in GROUPS.items():
        _known(config[group], keys, f"{group}.")
    for key in COUNTS:
        check_count(config[key], key)
    check_count(config["logger"]["every"], "logger.every")
    seconds = config["callbacks"]["progress_seconds"]
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds < 0:
        raise ConfigError(f"callbacks.progress_seconds must be a number from 0, got {seconds!r}")
    if config["block_updates"] != "auto":
        check_count(config["block_updates"], "block_updates")
    if not isinstance(config["seed"], int) or config["seed"] < 0:
        raise ConfigError(f"seed must be a whole number from 0, got {config['seed']!r}")
    if config["evaluate"] not in ("auto", "none"):
        raise ConfigError(f"evaluate must be auto or none, got {config['evaluate']!r}")
    if config["eval_async"] not in ("auto", True, False):
        raise ConfigError(f"eval_async must be auto, true or false, got {config['eval_async']!r}")
    if config["eval_precision"] not in ("float32", "bf16"):
        raise ConfigError(f"eval_precision must be float32 or bf16, got {config['eval_precision']!r}")
    if not isinstance(config["eval_acting"], list):
        raise ConfigError(f"eval_acting must be a list such as [1,0.5,0,shared], got {config['eval_acting']!r}")
    check_acting(config["eval_acting"], "eval_acting")
    _trainer(config["trainer"])


def check_acting(ways: Iterable[Any], key: str) -> None:
    """Raise ConfigError for a way to act that is neither a scale of the start noise nor `shared`."""
    for way in ways:
        number = isinstance(way, int | float) and not isinstance(way, bool) and 0 <= way < float("inf")
        if not number and way != SHARED:
            raise ConfigError(f"{key}: scales of the start noise from 0, or {SHARED}; got {way!r}")


def check_target(node: Mapping[str, Any], where: str, target: Any, given: Iterable[str] = ()) -> None:
    """Raise ConfigError for a key that the constructor of `target` does not take, or a value of the wrong kind.

    Whole numbers count things and start at 1 (at 0 for environments); other numbers are sizes and are not negative.
    """
    values = {key: value for key, value in node.items() if key != "_target_"}
    known = _parameters(target)
    if known is not None:
        _known(values, known, f"{where}.", set(given))
    hints = {key: hint for init in _constructors(target) for key, hint in get_type_hints(init).items()}
    for key, value in values.items():
        _kind(value, hints.get(key, Any), f"{where}.{key}", least=0 if where == "env" else 1)


def check_pair(algorithm: type[Algorithm], spec: Spec, seeds: int, name: str) -> None:
    """Raise ConfigError where the algorithm does not support the task; called before anything is loaded."""
    kind = "discrete" if spec.discrete else "continuous"
    if not getattr(algorithm, f"supports_{kind}"):
        raise ConfigError(f"algo={name} has no {kind} actions, which {spec.env_id} needs; choose another algo")
    if algorithm.needs_state and spec.state_dim is None:
        raise ConfigError(f"algo={name} needs a global state, which {spec.env_id} does not give; choose another algo")
    if algorithm.max_seeds is not None and seeds > algorithm.max_seeds:
        raise ConfigError(
            f"algo={name} trains {algorithm.max_seeds} seed at a time; use -m seed={','.join(map(str, range(seeds)))}"
        )


def check_spec(data: Spec, env: Spec) -> None:
    """Raise ConfigError naming the first field in which data and environment disagree."""
    found = data.differences(env)
    if found:
        raise ConfigError(f"data and env do not match: {found[0]} (data != env); choose the env the data came from")


def _known(node: Mapping[str, Any], known: Iterable[str], prefix: str, extra: Iterable[str] = ()) -> None:
    allowed = {*known, *extra}
    for key in node:
        if key not in allowed:
            raise ConfigError(f"unknown key '{prefix}{key}'{nearest(key, sorted(known))}")


def _parameters(target: Any) -> list[str] | None:
    names: list[str] = []
    for init in _constructors(target):
        parameters = inspect.signature(init).parameters.values()
        names += [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return [name for name in names if name not in ("self", "spec")]
    return None


def _constructors(target: Any) -> Iterator[Any]:
    return (vars(cls)["__init__"] for cls in inspect.getmro(target) if "__init__" in vars(cls) and cls is not object)


def _kind(value: Any, hint: Any, key: str, least: int) -> None:
    """Compare a plain value with an annotation made of bool, int, float, str and None; other annotations pass."""
    options = get_args(hint) or (hint,)
    whole, number = isinstance(value, int), isinstance(value, int | float)
    if isinstance(value, bool):
        whole = number = False
    fits = {
        bool: isinstance(value, bool),
        int: whole and value >= least,
        float: number and value >= 0,
        str: isinstance(value, str),
        type(None): value is None,
    }
    if all(option in fits for option in options) and not any(fits[option] for option in options):
        names = {
            bool: "true or false",
            int: f"a whole number from {least}",
            float: "a number from 0",
            str: "text",
            type(None): "null",
        }
        raise ConfigError(f"{key} must be {' or '.join(names[option] for option in options)}, got {value!r}")


def check_count(value: Any, key: str) -> None:
    """Raise ConfigError unless `value` counts something, from 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"{key} must be a whole number from 1, got {value!r}")


def _trainer(trainer: Mapping[str, Any]) -> None:
    if trainer["devices"] != 1:
        raise ConfigError(
            f"trainer.devices={trainer['devices']}: one run uses one device; start more runs, e.g. fit -m seed=0,1"
        )
    accelerator, precision = trainer["accelerator"], trainer["precision"]
    if accelerator not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"trainer.accelerator must be auto, cpu or cuda, got {accelerator!r}")
    if accelerator == "cuda" and not torch.cuda.is_available():
        raise ConfigError("trainer.accelerator=cuda, but torch finds no CUDA device; use cpu, or see `vgm2p doctor`")
    if precision not in PRECISIONS:
        raise ConfigError(f"trainer.precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    if precision == "16-mixed" and (accelerator == "cpu" or not torch.cuda.is_available()):
        raise ConfigError("trainer.precision=16-mixed works on CUDA only; use bf16-mixed or 32-true here")
    tf32 = trainer.get("tf32", False)  # runs from before there was this key have none
    if not isinstance(tf32, bool):
        raise ConfigError(f"trainer.tf32 must be true or false, got {tf32!r}")
    if tf32 and (accelerator == "cpu" or not torch.cuda.is_available()):
        raise ConfigError("trainer.tf32=true works on CUDA only; use false here")
    if trainer["capture"] not in ("auto", True, False):
        raise ConfigError(f"trainer.capture must be auto, true or false, got {trainer['capture']!r}")
    if trainer["capture"] is True and (accelerator == "cpu" or not torch.cuda.is_available()):
        raise ConfigError("trainer.capture=true needs a CUDA device; use auto")
    if trainer["threads"] != "auto":
        check_count(trainer["threads"], "trainer.threads")
