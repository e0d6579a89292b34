"""Evaluation: episodes of a policy in one of its ways to act."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from vgm2p.algos.contract import Algorithm
from vgm2p.envs.base import Episode, VectorEnv
from vgm2p.execution.rollout import acting as acting_in
from vgm2p.execution.rollout import rollout
from vgm2p.run.folder import SHARED, Acting

StopFunction = Callable[[], bool]
PRECISIONS = {"float32": None, "bf16": torch.bfloat16}


@contextmanager
def execution(algorithm: Any, acting: Acting) -> Iterator[None]:
    """Act in another way for a while (see `Acting`); algorithms without start noise have one way only."""
    if acting is None or not hasattr(algorithm, "act_noise"):
        yield
        return
    held = algorithm.act_noise, algorithm.act_noise_shared
    algorithm.act_noise, algorithm.act_noise_shared = (1.0, True) if acting == SHARED else (acting, held[1])
    try:
        yield
    finally:
        algorithm.act_noise, algorithm.act_noise_shared = held


def ways(algorithm: Any, asked: Sequence[float | str]) -> list[Acting]:
    """Return the ways to evaluate: the algorithm's own and those asked for, loudest first, `shared` last."""
    own: float | None = getattr(algorithm, "act_noise", None)
    if own is None:
        return [None]
    scales = {own, *(float(way) for way in asked if way != SHARED)}
    return [*sorted(scales, reverse=True), *([SHARED] if SHARED in asked else [])]


def evaluate(
    algorithm: Algorithm,
    env: VectorEnv,
    update: int,
    episodes: int,
    stop: StopFunction,
    acting: Acting = None,
    on_step: Callable[[int], None] | None = None,
    precision: str = "float32",
) -> list[Episode]:
    """Roll out `episodes` episodes of every seed in lockstep, acting as `acting` says, in `precision` (of PRECISIONS).

    Raises RolloutStopped when `stop` says so.
    """
    was_training = algorithm.training
    algorithm.eval()
    device = algorithm.obs_mean.device
    with execution(algorithm, acting), acting_in(device.type, PRECISIONS[precision]):
        done = rollout(algorithm, env, update, algorithm.seeds, episodes, stop=stop, on_step=on_step, device=device)
    algorithm.train(was_training)
    return done
