"""Evaluation during training: real episodes every `every` updates, into episodes.csv."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from lightning import Callback, LightningModule, Trainer

from vgm2p.algos.base import Algorithm
from vgm2p.envs.base import VectorEnv
from vgm2p.envs.rollout import Episode, rollout
from vgm2p.envs.rollout import acting as acting_in
from vgm2p.errors import RolloutStopped
from vgm2p.io.artifacts import SHARED, Acting, CsvLog, episode_row
from vgm2p.report.grid import shown

StopFunction = Callable[[], bool]
PRECISIONS = {"float32": None, "bf16": torch.bfloat16}
DRAIN_SECONDS = 3.0


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


class Beside(Protocol):
    """A process that evaluates snapshots (`vgm2p.evaluator.Evaluator`)."""

    pending: int

    def submit(self, update: int, algorithm: Algorithm, episodes: int) -> None:
        """Take a snapshot."""
        ...

    def collect(self, wait: float = 0.0) -> list[tuple[int, list[Episode]]]:
        """Return finished evaluations in order."""
        ...

    def close(self) -> None:
        """Throw away what is pending."""
        ...


class Evaluate(Callback):
    """Rolls the policy out at every multiple of `every` updates; the last update is left to the final evaluation.

    An evaluation cut short by a signal leaves no rows; on resume the missing evaluation of the restored update is done
    first, so that files equal those of an uninterrupted run. With `beside`, snapshots are evaluated in another process
    and `drain` must succeed before a checkpoint is written: it implies the rows of the evaluations of earlier updates.
    """

    def __init__(
        self, env: VectorEnv, file: CsvLog, every: int, episodes: int, total: int, stop: StopFunction,
        say: Callable[[str], None], precision: str = "float32", beside: Beside | None = None,
    ) -> None:  # fmt: skip
        self.env, self.file, self.every, self.episodes, self.total = env, file, every, episodes, total
        self.stop, self.say, self.precision, self.beside = stop, say, precision, beside
        self.latest: float | None = None
        self._submitted = -1  # update of the last snapshot beside
        self._dropped = False  # whether a signal left no time for one

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Try one episode before the first update; make up a missing evaluation after a resume."""
        module: Any = pl_module
        if module.done == 0:
            self._try_out(module.algorithm)
        elif self._due(module.done) and not self._written(module):
            self.file.truncate(module.done - 1)
            self._evaluate(module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *unused: Any) -> None:
        """Evaluate at interval edges, or collect what was evaluated beside."""
        module: Any = pl_module
        if self._due(module.done) and not self.stop():
            self._evaluate(module)
        if self.beside is not None:
            self._write(self.beside.collect())

    def drain(self, done: int) -> bool:
        """Wait for the evaluations beside of updates before `done`, so that training need not wait for that of `done`.

        Returns False if a signal asked to stop and they did not end within 3 seconds.
        """
        patience, later = DRAIN_SECONDS, self._submitted == done
        while self.beside is not None and self.beside.pending > later:
            self._write(self.beside.collect(wait=0.1))
            if self.stop():
                patience -= 0.1
                if patience < 0:
                    self.beside.close()
                    self._dropped = True
        return not self._dropped

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """End the process beside; what it was at is lost, so that no checkpoint may follow."""
        self._dropped = self._dropped or self.beside is not None
        self.teardown(trainer, pl_module, "fit")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """End the process beside."""
        if self.beside is not None:
            self.beside.close()

    def _written(self, module: Any) -> bool:
        """Whether all rows of the present update are there: a disk that filled may have taken a part of them."""
        rows = [row for row in self.file.rows() if int(row["update"]) == module.done]
        return len(rows) == len(module.algorithm.seeds) * self.episodes

    def _due(self, done: int) -> bool:
        return done % self.every == 0 and done != self.total

    def _try_out(self, algorithm: Algorithm) -> None:
        try:
            trial = evaluate(algorithm, self.env, 0, 1, self.stop)
        except RolloutStopped:
            return
        if self.beside is not None:
            self.env.close()  # what it started would idle while another process plays
        returns = ", ".join(shown(episode.return_) for episode in trial)
        self.say(f"environment works: one episode of the untrained policy returns {returns}")

    def _evaluate(self, module: Any) -> None:
        if self.beside is not None:
            self.beside.submit(module.done, module.algorithm, self.episodes)
            self._submitted = module.done
            return
        try:
            found = evaluate(
                module.algorithm, self.env, module.done, self.episodes, self.stop, precision=self.precision
            )
        except RolloutStopped:
            return
        self._write([(module.done, found)])

    def _write(self, finished: Sequence[tuple[int, list[Episode]]]) -> None:
        for update, episodes in finished:
            self.file.append([episode_row(update, episode, None) for episode in episodes])
            self.latest = sum(episode.return_ for episode in episodes) / len(episodes)
