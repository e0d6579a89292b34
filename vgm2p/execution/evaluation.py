"""Evaluation: episodes of a policy, with a chosen noise (a way to act)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from vgm2p.algos.contract import Algorithm
from vgm2p.envs.base import Evaluation, VectorEnv
from vgm2p.errors import ConfigError
from vgm2p.execution.rollout import OnStep, in_precision, rollout
from vgm2p.run.ways import JUDGED, MODE, SAMPLE, SHARED, Way, in_order
from vgm2p.types import Acting

StopFunction = Callable[[], bool]
# The ways that `auto` requests, by Spec.discrete.
USUAL: dict[bool, tuple[float | str, ...]] = {False: (1.0, 0.5, 0.0), True: (1.0, MODE, SAMPLE, JUDGED)}
BETA = 0.5  # of JUDGED, if the algorithm sets none; docs/algorithms/vgm2p_realised.md has win rates at others
LACKS = {SAMPLE: "has no probabilities of actions", JUDGED: "has no probabilities with a verdict on actions"}
PRECISIONS = {"float32": None, "bf16": torch.bfloat16}


def ways(algorithm: Algorithm, asked: Sequence[float | str] | str) -> list[Way]:
    """Return the ways to evaluate: the algorithm's default, and those of the requested ones that it has.

    The largest noise comes first, names come last. `auto` requests the ways of `USUAL`. An algorithm that acts in one
    way only has [None].
    """
    own = own_way(algorithm)
    if own is None:
        return [None]
    wanted = USUAL[algorithm.spec.discrete] if isinstance(asked, str) else asked
    return in_order({own, *(known(way, algorithm) for way in wanted if can_act(way, algorithm))})


def own_way(algorithm: Algorithm) -> Way:
    """Return the algorithm's default way to act; None: it has only one."""
    own = algorithm.acting
    if own is None:
        return None
    if own.beta > 0.0:
        return JUDGED
    if own.shared:
        return SHARED
    return SAMPLE if own.sample else known(own.noise, algorithm)


def known(way: float | str, algorithm: Algorithm) -> float | str:
    """Return the one name of a way to act: noise 0 is MODE with discrete actions, MODE is 0 with continuous ones."""
    if way in (MODE, 0):
        return MODE if algorithm.spec.discrete else 0.0
    return way if isinstance(way, str) else float(way)


def can_act(way: float | str, algorithm: Algorithm) -> bool:
    """Return whether an algorithm has this way to act."""
    if algorithm.acting is None:
        return False
    if way == SAMPLE:
        return algorithm.has_probabilities
    if way == JUDGED:
        return algorithm.has_probabilities and algorithm.has_verdict
    return algorithm.starts_from_noise or known(way, algorithm) == MODE


def refuse_others(asked: Sequence[float | str], algorithm: Algorithm, name: str) -> None:
    """Raise ConfigError for the first requested way to act that the algorithm `name` does not have."""
    for way in asked:
        if not can_act(way, algorithm):
            lacks = LACKS.get(str(way), "does not start from noise")
            raise ConfigError(f"act_noise={way}: algo={name} {lacks}; remove it from act_noise")


def acting_of(way: Way, algorithm: Algorithm) -> Acting | None:
    """Return the settings of a way to act; None: the algorithm's default."""
    own = algorithm.acting
    if own is None or way is None:
        return None
    if way == JUDGED:
        return replace(own, noise=0.0, sample=False, best_of=1, beta=own.beta or BETA)
    plain = replace(own, beta=0.0, shared=False)
    if way == SHARED:
        return replace(plain, noise=1.0, shared=True, sample=False)
    if way == SAMPLE:
        return replace(plain, noise=1.0, sample=True, best_of=1)
    return replace(plain, noise=0.0 if way == MODE else float(way), sample=False)


def evaluating(step: int, ended: int, total: int) -> str:
    """Return how far an evaluation is; the arguments are those of `on_step`."""
    return f"evaluating, {ended}/{total} episodes, step {step}"


class Watch:
    """Prints how far a long evaluation is, at most every `seconds` seconds; give it as `on_step`.

    Args:
        what: what is evaluated; it begins the line.
        say: prints one line.
        seconds: shortest time between two lines, and before the first.
        clock: returns a monotonic time in seconds.
    """

    def __init__(
        self,
        what: str,
        say: Callable[[str], None],
        seconds: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.what, self.say, self.seconds, self.clock = what, say, seconds, clock
        self.last = clock()

    def __call__(self, step: int, ended: int, total: int) -> None:
        """Take notice of an environment step."""
        if self.clock() - self.last >= self.seconds:
            self.last = self.clock()
            self.say(f"{self.what:<12} {evaluating(step, ended, total)}")


def evaluate(
    algorithm: Algorithm,
    env: VectorEnv,
    update: int,
    episodes: int,
    stop: StopFunction,
    way: Way = None,
    on_step: OnStep | None = None,
    precision: str = "float32",
) -> Evaluation:
    """Roll out `episodes` episodes of every seed together, in one way to act, in `precision` (a key of PRECISIONS).

    Raises RolloutStopped if `stop` returns True, Unplayable if no episode can be played, and Diverged if the policy of
    no seed is usable.
    """
    was_training = algorithm.training
    algorithm.eval()
    device = algorithm.obs_mean.device
    acting = acting_of(way, algorithm)
    found = Evaluation(update, [], [], [])
    with in_precision(device.type, PRECISIONS[precision]):
        found.episodes[:] = rollout(
            algorithm,
            env,
            update,
            algorithm.seeds,
            episodes,
            stop,
            on_step,
            device,
            acting=acting,
            unplayed=found.unplayed,
            unsound=found.unsound,
        )
    algorithm.train(was_training)
    return found
