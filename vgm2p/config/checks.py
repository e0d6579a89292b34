"""Checks before anything is loaded: machine, keys and values of the classes that are built, pairs that cannot work."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, get_args, get_type_hints

import torch

from vgm2p.algos.contract import Algorithm
from vgm2p.config.settings import TrainerSettings
from vgm2p.errors import ConfigError, nearest
from vgm2p.types import Spec


def check_machine(trainer: TrainerSettings) -> None:
    """Raise ConfigError where the settings of `trainer` need a CUDA device that is not here, or is not to be used."""
    if trainer.accelerator == "cuda" and not torch.cuda.is_available():
        raise ConfigError("trainer.accelerator=cuda, but torch finds no CUDA device; use cpu, or see `vgm2p doctor`")
    if trainer.accelerator != "cpu" and torch.cuda.is_available():
        return
    if trainer.precision == "16-mixed":
        raise ConfigError("trainer.precision=16-mixed works on CUDA only; use bf16-mixed or 32-true here")
    if trainer.tf32:
        raise ConfigError("trainer.tf32=true works on CUDA only; use false here")
    if trainer.capture is True:
        raise ConfigError("trainer.capture=true needs a CUDA device; use auto")


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
