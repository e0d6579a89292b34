"""Checks before training: the machine, and whether data, environment and algorithm fit together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vgm2p.config.settings import TrainerSettings
from vgm2p.errors import ConfigError
from vgm2p.types import NO_ENVIRONMENT, Spec

if TYPE_CHECKING:  # torch is slow to import
    from vgm2p.algos.contract import Algorithm

SHARES = {  # key of a node `algo` -> smallest and largest value, and whether these two are allowed
    "gamma": (0.0, 1.0, True, True),
    "tau": (0.0, 1.0, False, True),
    "expectile": (0.0, 1.0, False, False),
    "return_expectile": (0.0, 1.0, False, False),
}


def check_shares(node: Mapping[str, Any], where: str = "algo") -> None:
    """Raise ConfigError for a discount, a rate of a target network or an expectile that is no share."""
    for key, value in node.items():
        if isinstance(value, Mapping):
            check_shares(value, f"{where}.{key}")
        elif key in SHARES and isinstance(value, int | float):
            low, high, first, last = SHARES[key]
            if not (low < value < high or (first and value == low) or (last and value == high)):
                ends = f"from {low:g}" if first else f"above {low:g}"
                ends += f" to {high:g}" if last else f" and below {high:g}"
                raise ConfigError(f"{where}.{key} must be a number {ends}, got {value}")


def check_machine(trainer: TrainerSettings) -> None:
    """Raise ConfigError if a setting of `trainer` needs CUDA, but there is no CUDA device or `accelerator` is cpu."""
    import torch

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


def check_pair(algorithm: type[Algorithm], spec: Spec, seeds: int, name: str) -> None:
    """Raise ConfigError if the algorithm does not support the task or the number of seeds."""
    check_actions(algorithm, spec.discrete, spec.env_id, name)
    if algorithm.needs_state and spec.state_dim is None:
        raise ConfigError(f"algo={name} needs a global state, but {spec.env_id} has none; choose another algo")
    if algorithm.max_seeds is not None and seeds > algorithm.max_seeds:
        raise ConfigError(
            f"algo={name}: at most {algorithm.max_seeds} seed per run; use -m seed={','.join(map(str, range(seeds)))}"
        )


def check_updates(algorithm: Algorithm, updates: int, name: str) -> None:
    """Raise ConfigError if the run ends before the policy has learnt anything."""
    if algorithm.warm_up > 0 and updates <= algorithm.warm_up:
        raise ConfigError(
            f"updates={updates}: the policy of algo={name} learns nothing in the first {algorithm.warm_up}; set more"
        )


def check_actions(algorithm: type[Algorithm], discrete: bool | None, task: str, name: str) -> None:
    """Raise ConfigError if the algorithm does not support the kind of actions of a task; None: the kind is unknown."""
    kind = "discrete" if discrete else "continuous"
    if discrete is not None and not getattr(algorithm, f"supports_{kind}"):
        raise ConfigError(f"algo={name} does not support the {kind} actions of {task}; choose another algo")


def check_keys(algorithm: type[Algorithm], discrete: bool | None, words: Sequence[str], name: str) -> None:
    """Raise ConfigError for a typed key that the algorithm does not read with this kind of actions; None: unknown."""
    if discrete is None:
        return
    for key in (word.lstrip("+~").partition("=")[0] for word in words):
        if any(f"{key}.".startswith(f"algo.{unread}.") for unread in algorithm.unread(discrete)):
            kind = "discrete" if discrete else "continuous"
            raise ConfigError(f"{key} has no effect: algo={name} does not read it with {kind} actions; remove it")


def check_spec(data: Spec, env: Spec) -> None:
    """Raise ConfigError with the first field that differs between data and environment."""
    if data.env_id.startswith(NO_ENVIRONMENT):
        raise ConfigError(
            f"the data name no environment; set data.source.env_id={env.env_id} if they are from it, or train with "
            "evaluate=none"
        )
    found = data.differences(env)
    if found:
        raise ConfigError(f"data and env do not match: {found[0]} (data != env); choose the env of the data")


def check_policy(policy: Spec, env: Spec) -> None:
    """Raise ConfigError with the first field in which the task of a policy and that of an environment differ.

    Data that name no environment say nothing about `env_id`, and of `env_kwargs` only what the user listed (a split).
    """
    own = policy.env_id.startswith(NO_ENVIRONMENT)
    known = replace(policy, env_id=env.env_id, env_kwargs=env.env_kwargs | policy.env_kwargs) if own else policy
    found = known.differences(env)
    if found:
        raise ConfigError(
            f"the environment {env.env_id} does not fit the policy: {found[0]} (policy != environment); choose the "
            "environment of its data"
        )
