"""Evaluation during training: real episodes every `every` updates, into episodes.csv."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from lightning import Callback, LightningModule, Trainer

from vgm2p.algos.contract import Algorithm
from vgm2p.envs.base import Episode, VectorEnv
from vgm2p.errors import RolloutStopped
from vgm2p.execution.evaluation import StopFunction, evaluate
from vgm2p.io.text import shown
from vgm2p.run.folder import CsvLog, episode_row

DRAIN_SECONDS = 3.0


class Beside(Protocol):
    """A process that evaluates snapshots (`vgm2p.execution.beside.Evaluator`)."""

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
        self,
        env: VectorEnv,
        file: CsvLog,
        every: int,
        episodes: int,
        total: int,
        stop: StopFunction,
        say: Callable[[str], None],
        precision: str = "float32",
        beside: Beside | None = None,
    ) -> None:
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
