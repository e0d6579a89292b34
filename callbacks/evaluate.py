"""Evaluation during training: real episodes every `every` updates, into episodes.csv."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lightning import Callback, LightningModule, Trainer

from vgm2p.algos.base import Algorithm
from vgm2p.envs.base import VectorEnv
from vgm2p.envs.rollout import Episode, RolloutStopped, rollout
from vgm2p.io.artifacts import CsvLog, episode_row

StopFunction = Callable[[], bool]


@contextmanager
def execution(algorithm: Algorithm, act_noise: float | None) -> Iterator[None]:
    """Act with another scale of the start noise for a while; None keeps the algorithm's own."""
    held = getattr(algorithm, "act_noise", None)
    if act_noise is not None and held is not None:
        algorithm.act_noise = act_noise  # type: ignore[assignment]
    try:
        yield
    finally:
        if held is not None:
            algorithm.act_noise = held


def evaluate(
    algorithm: Algorithm,
    env: VectorEnv,
    update: int,
    episodes: int,
    stop: StopFunction,
    act_noise: float | None = None,
    on_step: Callable[[int], None] | None = None,
) -> list[Episode]:
    """Roll out `episodes` episodes of every seed in lockstep. Raises RolloutStopped when `stop` says so."""
    was_training = algorithm.training
    algorithm.eval()
    with execution(algorithm, act_noise):
        device = algorithm.obs_mean.device
        done = rollout(algorithm, env, update, algorithm.seeds, episodes, stop=stop, on_step=on_step, device=device)
    algorithm.train(was_training)
    return done


class Evaluate(Callback):
    """Rolls the policy out at every multiple of `every` updates; the last update is left to the final evaluation.

    An evaluation cut short by a signal leaves no rows; on resume the missing evaluation of the restored update is done
    first, so that files equal those of an uninterrupted run.
    """

    def __init__(
        self, env: VectorEnv, file: CsvLog, every: int, episodes: int, total: int, stop: StopFunction,
        say: Callable[[str], None],
    ) -> None:  # fmt: skip
        self.env, self.file, self.every, self.episodes, self.total = env, file, every, episodes, total
        self.stop, self.say = stop, say
        self.latest: float | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Try one episode before the first update; make up a missing evaluation after a resume."""
        module: Any = pl_module
        if module.done == 0:
            self._try_out(module.algorithm)
        elif self._due(module.done) and module.done not in self.file.updates():
            self._evaluate(module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *unused: Any) -> None:
        """Evaluate at interval edges."""
        module: Any = pl_module
        if self._due(module.done) and not self.stop():
            self._evaluate(module)

    def _due(self, done: int) -> bool:
        return done % self.every == 0 and done != self.total

    def _try_out(self, algorithm: Algorithm) -> None:
        try:
            trial = evaluate(algorithm, self.env, 0, 1, self.stop)
        except RolloutStopped:
            return
        returns = ", ".join(f"{episode.return_:.1f}" for episode in trial)
        self.say(f"environment works: one episode of the untrained policy returns {returns}")

    def _evaluate(self, module: Any) -> None:
        try:
            episodes = evaluate(module.algorithm, self.env, module.done, self.episodes, self.stop)
        except RolloutStopped:
            return
        self.file.append([episode_row(module.done, episode, None) for episode in episodes])
        self.latest = sum(episode.return_ for episode in episodes) / len(episodes)
