"""Evaluation: episodes of a policy, with a chosen noise (a way to act)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from vgm2p.algos.contract import Algorithm
from vgm2p.envs.base import Episode, VectorEnv
from vgm2p.execution.rollout import in_precision, rollout
from vgm2p.run.folder import SHARED, Way
from vgm2p.types import Acting

StopFunction = Callable[[], bool]
PRECISIONS = {"float32": None, "bf16": torch.bfloat16}


def ways(own: Acting | None, asked: Sequence[float | str]) -> list[Way]:
    """Return the ways to evaluate: the algorithm's default and the requested ones, largest noise first, `shared` last.

    An algorithm that does not start from noise (`own` is None) has one way only: [None].
    """
    if own is None:
        return [None]
    scales = {own.noise, *(float(way) for way in asked if way != SHARED)}
    return [*sorted(scales, reverse=True), *([SHARED] if SHARED in asked else [])]


def acting_of(way: Way, own: Acting | None) -> Acting | None:
    """Return the settings of a way to act; None: the algorithm's default."""
    if own is None or way is None:
        return None
    return replace(own, noise=1.0, shared=True) if isinstance(way, str) else replace(own, noise=way)


def evaluate(
    algorithm: Algorithm,
    env: VectorEnv,
    update: int,
    episodes: int,
    stop: StopFunction,
    way: Way = None,
    on_step: Callable[[int], None] | None = None,
    precision: str = "float32",
) -> list[Episode]:
    """Roll out `episodes` episodes of every seed together, in one way to act, in `precision` (a key of PRECISIONS).

    Raises RolloutStopped if `stop` returns True.
    """
    was_training = algorithm.training
    algorithm.eval()
    device = algorithm.obs_mean.device
    acting = acting_of(way, algorithm.acting)
    with in_precision(device.type, PRECISIONS[precision]):
        done = rollout(algorithm, env, update, algorithm.seeds, episodes, stop, on_step, device, acting=acting)
    algorithm.train(was_training)
    return done
