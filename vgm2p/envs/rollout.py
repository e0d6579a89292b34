"""Episodes of a policy: all seeds and episodes in lockstep, one policy call per step, faults repeated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vgm2p.envs.base import Frame, VectorEnv
from vgm2p.errors import ServiceError
from vgm2p.rng import ActKey
from vgm2p.types import Actor, Randomness, Spec

FIRST_SEED = 1_000_000
MAX_REPEATS = 3


class RolloutStopped(Exception):
    """`stop` asked to end; episodes under way are thrown away."""


@dataclass(frozen=True)
class Episode:
    """One finished episode.

    Attributes:
        seed: training seed of the policy.
        episode: number of the episode.
        return_: undiscounted sum of team rewards.
        length: steps.
        terminated: whether the task ended it (otherwise the step limit did).
        won: whether it was won, where the environment says so.
        faults: environment failures before it could be finished.
    """

    seed: int
    episode: int
    return_: float
    length: int
    terminated: bool
    won: bool | None = None
    faults: int = 0


def episode_seed(episode: int) -> int:
    """Return the environment seed of an episode: the same starts for every algorithm, update and training seed."""
    return FIRST_SEED + episode


@contextmanager
def acting(device: str, dtype: torch.dtype | None) -> Iterator[None]:
    """Run policies in `dtype` (bfloat16) for a while; None leaves them as they are."""
    with nullcontext() if dtype is None else torch.autocast(device, dtype):
        yield


def rollout(
    actor: Actor,
    env: VectorEnv,
    update: int,
    seeds: Sequence[int],
    episodes: int | Sequence[int],
    stop: Callable[[], bool] = lambda: False,
    on_step: Callable[[int], None] | None = None,
    device: torch.device | str = "cpu",
    slots: int = 100,
) -> list[Episode]:
    """Roll out every episode with every seed's policy and return them ordered by seed, then episode.

    The noise of an episode depends on (seed, update, episode, step) alone: how episodes are grouped, which of them
    finish first and which are repeated changes no result.

    Args:
        actor: the policy, all seeds at once.
        env: the environment; it gets as many slots as a group needs.
        update: updates behind the policy, part of the noise's key.
        seeds: training seeds, in the order of the actor's leading axis.
        episodes: number of episodes, or their numbers.
        stop: polled between environment steps.
        on_step: called with the running step number.
        device: where the policy runs.
        slots: largest number of environments at once.

    Raises:
        RolloutStopped: when `stop` returns True.
        ServiceError: when an episode fails more than three times.
    """
    numbers = list(range(episodes)) if isinstance(episodes, int) else list(episodes)
    faults = {(s, number): 0 for s in range(len(seeds)) for number in numbers}
    done: dict[tuple[int, int], Episode] = {}
    group = max(1, slots // len(seeds))
    pending = [numbers[i : i + group] for i in range(0, len(numbers), group)]
    while pending:
        members = pending.pop(0)
        waiting = [pair for pair in faults if pair[1] in members and pair not in done]
        finished, failed = _lockstep(actor, env, update, seeds, members, waiting, stop, on_step, device)
        for pair in failed:
            faults[pair] += 1
            if faults[pair] > MAX_REPEATS:
                raise ServiceError(
                    f"environment {env.spec.env_id} failed {faults[pair]} times in episode {pair[1]}; see doctor"
                )
        if failed:
            pending.append(sorted({number for _, number in failed}))
        done.update(finished)
    return [_named(done[pair], seeds, pair, faults[pair]) for pair in sorted(done)]


def _named(episode: Episode, seeds: Sequence[int], pair: tuple[int, int], faults: int) -> Episode:
    return Episode(seeds[pair[0]], pair[1], episode.return_, episode.length, episode.terminated, episode.won, faults)


def _lockstep(
    actor: Actor, env: VectorEnv, update: int, seeds: Sequence[int], members: list[int],
    waiting: list[tuple[int, int]], stop: Callable[[], bool], on_step: Callable[[int], None] | None,
    device: torch.device | str,
) -> tuple[dict[tuple[int, int], Episode], list[tuple[int, int]]]:  # fmt: skip
    """Run one group; rows that are finished, failed or not waited for stay in the batch unstepped."""
    pairs = [(s, number) for s in range(len(seeds)) for number in members]
    env.make(len(pairs))
    key = ActKey(seeds, update, members, device)
    active = np.array([pair in waiting for pair in pairs])
    frame = env.reset([episode_seed(number) if on else None for (_, number), on in zip(pairs, active, strict=True)])
    returns, lengths = np.zeros(len(pairs)), np.zeros(len(pairs), int)
    finished: dict[tuple[int, int], Episode] = {}
    failed: list[tuple[int, int]] = []
    memory: Any = None
    step = 0
    while active.any():
        if stop():
            raise RolloutStopped
        obs, legal = _tensors(frame, len(seeds), device)
        with torch.inference_mode():
            action, memory = actor.act(obs, legal, memory, key.at(step))
        result = env.step(action.flatten(0, 1).cpu().numpy(), active)
        frame = result.frame
        returns += result.reward
        lengths += active
        step += 1
        ended = active & (result.terminated | result.truncated | result.fault)
        for e in np.flatnonzero(ended):
            if result.fault[e]:
                failed.append(pairs[e])
                continue
            won = bool(result.info["won"][e]) if "won" in result.info else None
            finished[pairs[e]] = Episode(0, 0, float(returns[e]), int(lengths[e]), bool(result.terminated[e]), won)
        active &= ~ended
        if on_step is not None:
            on_step(step)
    return finished, failed


def _tensors(frame: Frame, seeds: int, device: torch.device | str) -> tuple[Tensor, Tensor | None]:
    obs = torch.from_numpy(frame.obs).to(device).unflatten(0, (seeds, -1))
    legal = None if frame.legal is None else torch.from_numpy(frame.legal).to(device).unflatten(0, (seeds, -1))
    return obs, legal


class RandomActor:
    """Acts uniformly at random: in [-1, 1], or among the legal actions (implements `Actor`)."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec

    def act(self, obs: Tensor, legal: Tensor | None, memory: Any, key: Randomness) -> tuple[Tensor, Any]:
        """Return (S, E, N, A) floats or (S, E, N) indices for obs (S, E, N, O)."""
        uniform = key.uniform("random", (*obs.shape[1:3], self.spec.action_dim))
        if not self.spec.discrete:
            return uniform * 2.0 - 1.0, memory
        scores = uniform if legal is None else uniform.masked_fill(~legal, -1.0)
        return scores.argmax(-1), memory
