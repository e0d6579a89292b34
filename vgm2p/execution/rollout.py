"""Rollouts: all seeds and episodes step together, with one policy call per step. Failed episodes are repeated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vgm2p.envs.base import TEXTS, Episode, Frame, Interruptible, Step, Unplayed, Unsound, VectorEnv, episode_seed
from vgm2p.errors import Diverged, RolloutStopped, ServiceError
from vgm2p.execution.actions import policy_name, unsound_weights, usable
from vgm2p.execution.guard import guarded
from vgm2p.nn.fast.kernels import tf32_products
from vgm2p.rng import ActKey
from vgm2p.types import Acting, Actor, Randomness, Seen, Spec

MAX_REPEATS = 3


class Unplayable(ServiceError):
    """An episode failed at every attempt.

    Args:
        line: the message.
        failure: the episode, and its last failure.
    """

    def __init__(self, line: str, failure: Unplayed) -> None:
        super().__init__(line)
        self.failure = failure


class Failures:
    """Counts the failures of episodes, and gives up an episode that fails more than MAX_REPEATS times.

    Args:
        env_id: the task.
        most: number of episodes to be given up that is an error.

    Attributes:
        count: (seed position, episode) -> number of failures.
        final: episode that is given up -> its last failure.
    """

    def __init__(self, env_id: str, most: int) -> None:
        self.env_id, self.most = env_id, most
        self.count: dict[tuple[int, int], int] = {}
        self.final: dict[int, Unplayed] = {}

    def add(self, failed: Mapping[tuple[int, int], Unplayed]) -> list[int]:
        """Count failures, and return the episodes to repeat. Raises Unplayable if `most` episodes are given up."""
        for pair, failure in failed.items():
            self.count[pair] = self.count.get(pair, 0) + 1
            if self.count[pair] <= MAX_REPEATS:
                continue
            self.final.setdefault(pair[1], failure)
            if len(self.final) == self.most:
                cause = f" ({failure.cause})" if failure.cause else ""
                tries = f"{self.count[pair]} times in episode {pair[1]}{cause}"
                raise Unplayable(f"environment {self.env_id} failed {tries}; run `vgm2p doctor`", failure)
        return sorted({number for _, number in failed} - self.final.keys())


@contextmanager
def in_precision(device: str, dtype: torch.dtype | None) -> Iterator[None]:
    """Run policies in `dtype` (bfloat16) in this block, without TF32; None does not change their dtype."""
    with tf32_products(False), nullcontext() if dtype is None else torch.autocast(device, dtype):
        yield


OnStep = Callable[[int, int, int], None]


def rollout(
    actor: Actor,
    env: VectorEnv,
    update: int,
    seeds: Sequence[int],
    episodes: int | Sequence[int],
    stop: Callable[[], bool] = lambda: False,
    on_step: OnStep | None = None,
    device: torch.device | str = "cpu",
    slots: int = 100,
    acting: Acting | None = None,
    unplayed: list[Unplayed] | None = None,
    unsound: list[Unsound] | None = None,
) -> list[Episode]:
    """Roll out every episode with the policy of every seed. Return the episodes ordered by seed, then by episode.

    The noise of an episode depends on (seed, update, episode, step) only. So the grouping of the episodes, their order
    of ending, repetitions and unsound seeds do not change the results of others. At most `env.max_active` episodes run
    at the same time. What the environment returns is checked (`guard.Guarded`).

    Args:
        actor: the policy, all seeds together.
        env: the environment; it gets as many slots as a group needs.
        update: number of updates of the policy; the noise depends on it.
        seeds: training seeds, in the order of the actor's seed axis.
        episodes: number of episodes, or a list of episode numbers.
        stop: called between environment steps.
        on_step: called after every environment step: its number, the episodes that have ended, and how many there are.
        device: device of the policy.
        slots: largest number of slots at the same time.
        acting: how to act; None: the actor's default.
        unplayed: an episode that fails more than MAX_REPEATS times is added to this list, and left out for every seed.
        unsound: a seed whose weights or actions are not finite is added to this list, and has no episode.

    Raises:
        RolloutStopped: if `stop` returns True.
        Unplayable: if an episode fails more than MAX_REPEATS times, and `unplayed` is None or no episode is left.
        Diverged: if a seed is unsound, and `unsound` is None or no seed is left.
        ServiceError: if the environment raises an error, or returns what is no number.
    """
    if isinstance(env, Interruptible):
        env.stop = stop
    numbers = list(range(episodes)) if isinstance(episodes, int) else list(episodes)
    failures = Failures(env.spec.env_id, len(numbers) if unplayed is not None else 1)
    most = len(seeds) if unsound is not None else 1
    found = unsound_weights(actor, seeds)
    play = _Play(actor, guarded(env), update, seeds, stop, on_step, device, acting, most, found)
    done = play.all(numbers, slots, failures)
    if unplayed is not None:
        unplayed += [failures.final[number] for number in sorted(failures.final)]
    if unsound is not None:
        unsound += [Unsound(seeds[s], play.unsound[s]) for s in sorted(play.unsound)]
    return [
        replace(done[pair], seed=seeds[pair[0]], episode=pair[1], faults=failures.count.get(pair, 0))
        for pair in sorted(done)
        if pair[1] not in failures.final and pair[0] not in play.unsound
    ]


def _parts(pairs: list[tuple[int, int]], size: int | None) -> list[list[tuple[int, int]]]:
    size = size or len(pairs)
    return [pairs[i : i + size] for i in range(0, len(pairs), size)]


@dataclass
class _Play:
    """Plays episodes of all seeds. The first attributes are arguments of `rollout`.

    Attributes:
        most: number of unsound seeds that is an error.
        unsound: seed position -> what is wrong with its policy.
        ended: number of episodes (of all seeds) of earlier groups.
        total: number of episodes of all seeds.
    """

    actor: Actor
    env: VectorEnv
    update: int
    seeds: Sequence[int]
    stop: Callable[[], bool]
    on_step: OnStep | None
    device: torch.device | str
    acting: Acting | None
    most: int
    unsound: dict[int, str]
    ended: int = 0
    total: int = 0

    def pairs(self, number: int) -> list[tuple[int, int]]:
        """Return the (seed position, episode) pairs of an episode, without unsound seeds."""
        return [(s, number) for s in range(len(self.seeds)) if s not in self.unsound]

    def refuse(self) -> None:
        """Raise Diverged if `most` seeds are unsound."""
        if len(self.unsound) >= self.most:
            raise Diverged(self.unsound[min(self.unsound)])

    def all(self, numbers: list[int], slots: int, failures: Failures) -> dict[tuple[int, int], Episode]:
        """Play every episode with every seed, in groups of at most `slots` rows, and repeat those that fail."""
        self.refuse()
        self.total = len(numbers) * len(self.seeds)
        done: dict[tuple[int, int], Episode] = {}
        group = max(1, slots // len(self.seeds))
        pending = [numbers[i : i + group] for i in range(0, len(numbers), group)]
        while pending:
            waiting = [pair for number in pending.pop(0) for pair in self.pairs(number) if pair not in done]
            failed: dict[tuple[int, int], Unplayed] = {}
            for together in _parts(waiting, self.env.max_active):
                found, lost = self.together(together)
                done.update(found)
                self.ended = len(done)
                failed.update(lost)
                self.refuse()
            again = failures.add(failed)
            pending += [again] if again else []
        return done

    def together(
        self, waiting: list[tuple[int, int]]
    ) -> tuple[dict[tuple[int, int], Episode], dict[tuple[int, int], Unplayed]]:
        """Run the `waiting` (seed position, episode) pairs together.

        Rows that have finished or failed, or that do not wait, stay in the batch but are not stepped. Returns the
        finished episodes, and the cause of every failure of the environment.
        """
        seeds, env = self.seeds, self.env
        members = list(dict.fromkeys(number for _, number in waiting))
        pairs = [(s, number) for s in range(len(seeds)) for number in members]
        env.make(len(pairs))
        key = ActKey(seeds, self.update, members, self.device)
        active = np.array([pair in waiting for pair in pairs])
        frame = env.reset([episode_seed(number) if on else None for (_, number), on in zip(pairs, active, strict=True)])
        returns, lengths = np.zeros(len(pairs)), np.zeros(len(pairs), int)
        reward: NDArray[np.float64] = np.zeros(len(pairs))
        finished: dict[tuple[int, int], Episode] = {}
        failed: dict[tuple[int, int], Unplayed] = {}
        memory: Any = None
        step = 0
        while active.any():
            if self.stop():
                raise RolloutStopped
            seen = _seen(frame, reward, active, len(seeds), self.device)
            with torch.inference_mode():
                action, memory = self.actor.act(seen, memory, key.at(step), self.acting)
            actions = self._sound(action, active, pairs, step)
            result = env.step(actions, active)
            frame, reward = result.frame, result.reward
            returns += reward
            lengths += active
            step += 1
            ended = active & (result.terminated | result.truncated | result.fault)
            for e in np.flatnonzero(ended).tolist():
                if result.fault[e]:
                    failed[pairs[e]] = Unplayed(pairs[e][1], *_texts(result, e))
                else:
                    finished[pairs[e]] = _episode(result, e, float(returns[e]), int(lengths[e]))
            active &= ~ended
            if self.on_step is not None:
                self.on_step(step, self.ended + len(finished), self.total)
        return finished, failed

    def _sound(
        self, action: Tensor, active: NDArray[np.bool_], pairs: list[tuple[int, int]], step: int
    ) -> NDArray[Any]:
        """Return the actions of all rows for the environment. End the episodes of seeds whose actions are unusable."""
        actions, bad = usable(self.actor, action, self.env.spec, len(self.seeds), len(pairs))
        if not bad.any():
            return actions
        for e in np.flatnonzero(bad & active).tolist():
            s, number = pairs[e]
            name = f"policy of {policy_name(self.actor)}, seed {self.seeds[s]}"
            line = f"{name}: an action is not finite at step {step} of episode {number}"
            self.unsound.setdefault(s, line)
        active &= ~np.isin([s for s, _ in pairs], list(self.unsound))
        return actions


def _episode(result: Step, e: int, return_: float, length: int) -> Episode:
    """Return an episode; `rollout` fills in its seed and number."""
    info = result.info
    won = bool(info["won"][e]) if "won" in info else None
    extra = {name: float(values[e]) for name, values in info.items() if name not in ("won", *TEXTS)}
    return Episode(0, 0, return_, length, bool(result.terminated[e]), won, extra=extra)


def _texts(result: Step, e: int) -> list[str]:
    """Return the texts TEXTS of slot e; empty if the environment does not give them."""
    return [str(result.info[name][e]) if name in result.info else "" for name in TEXTS]


def _seen(
    frame: Frame, reward: NDArray[np.float64], active: NDArray[np.bool_], seeds: int, device: torch.device | str
) -> Seen:
    """Return what the actor sees of E episodes for S seeds, as tensors (S, E, ...)."""

    def tensor(array: NDArray[Any]) -> Tensor:
        return torch.unflatten(torch.from_numpy(array).to(device), 0, (seeds, -1))

    legal = None if frame.legal is None else tensor(frame.legal)
    return Seen(tensor(frame.obs), legal, tensor(reward.astype(np.float32)), tensor(active.copy()))


class RandomActor:
    """Acts uniformly at random in [-1, 1], or among the legal actions (implements `Actor`)."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec

    def act(self, seen: Seen, memory: Any, key: Randomness, acting: Acting | None = None) -> tuple[Tensor, Any]:
        """Return (S, E, N, A) floats or (S, E, N) indices."""
        uniform = key.uniform("random", (*seen.obs.shape[1:3], self.spec.action_dim))
        if not self.spec.discrete:
            return uniform * 2.0 - 1.0, memory
        scores = uniform if seen.legal is None else uniform.masked_fill(~seen.legal, -1.0)
        return scores.argmax(-1), memory
