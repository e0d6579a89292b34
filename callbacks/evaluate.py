"""Evaluation during training: episodes every `every` updates, written to episodes.csv and sent to the loggers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from lightning import Callback, LightningModule, Trainer

from vgm2p.algos.contract import Algorithm
from vgm2p.config.nodes import to_plain
from vgm2p.envs.base import Evaluation, VectorEnv
from vgm2p.errors import Diverged, RolloutStopped
from vgm2p.execution.actions import unsound_weights
from vgm2p.execution.beside import Evaluator
from vgm2p.execution.evaluation import StopFunction, evaluate
from vgm2p.execution.frozen import frozen_seeds
from vgm2p.execution.rollout import OnStep
from vgm2p.io.text import shown
from vgm2p.run.csv_log import CsvLog
from vgm2p.run.folder import episode_row, kept_failures
from vgm2p.training.logs import log_evaluation
from vgm2p.training.module import OfflineModule
from vgm2p.training.run import Run, wanted

LAST_SECONDS = 3.0  # how long an asynchronous evaluation may continue after a signal


class Beside(Protocol):
    """Interface to a process that evaluates snapshots (`vgm2p.execution.beside.Evaluator`)."""

    pending: int

    def submit(self, update: int, algorithm: Algorithm, episodes: int) -> None:
        """Take a snapshot and evaluate it later."""
        ...

    def collect(self, wait: float = 0.0) -> list[Evaluation]:
        """Return the finished evaluations in order; wait up to `wait` seconds for the first."""
        ...

    def close(self) -> None:
        """Discard unfinished evaluations."""
        ...


class Evaluate(Callback):
    """Evaluates the policy before the first update and at every multiple of `every`, except the last update.

    (`final_evaluation` does that of the last update.) The first evaluation shows that the environment works, and where
    the curves begin. It changes no parameter, and is not done beside training.

    An evaluation that a signal stops writes no rows. A resumed run first repeats the missing evaluation of its update,
    so its files equal those of an uninterrupted run. With `beside`, another process evaluates snapshots asynchronously.
    Then `wait_for_earlier` must return True before a checkpoint is written, because a checkpoint promises the rows of
    all earlier evaluations. Implements `EvaluationLog`.
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
        self.due = range(0, total, every)  # the updates after which it evaluates
        self.stop, self.say, self.precision, self.beside = stop, say, precision, beside
        self.latest: float | None = None
        self.seconds = 0.0
        self.on_step: OnStep | None = None
        self._loggers: Sequence[Any] = ()
        self._submitted = -1  # update of the last snapshot
        self._lost = False  # whether an asynchronous evaluation was lost

    @classmethod
    def for_run(cls, run: Run) -> Evaluate | None:
        """Return the callback of a run, with its settings `eval_*`; None without an environment."""
        settings = run.settings
        if run.env is None:
            return None
        return cls(
            run.env,
            run.folder.log_episodes(),
            settings.eval_every,
            settings.eval_episodes,
            settings.updates,
            run.stop.requested,
            run.say,
            settings.eval_precision,
            Evaluator(to_plain(settings)) if wanted(settings.eval_async, run.device) else None,
        )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluate the untrained policy. In a resumed run, repeat a missing evaluation."""
        assert isinstance(pl_module, OfflineModule)
        self._loggers, self._algorithm = trainer.loggers, pl_module.algorithm
        self._show_earlier()
        if pl_module.done in self.due and not self._written(pl_module):
            self.file.truncate(pl_module.done - 1)
            self._evaluate(pl_module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *unused: Any) -> None:
        """Evaluate at multiples of `every`, and collect finished asynchronous evaluations."""
        assert isinstance(pl_module, OfflineModule)
        if pl_module.done in self.due and not self.stop():
            self._evaluate(pl_module)
        if self.beside is not None:
            self._write(self.beside.collect())

    def wait_for_earlier(self, done: int) -> bool:
        """Wait until asynchronous evaluations of updates before `done` are written (that of `done` may still run).

        Returns False if a signal arrived and they did not end within 3 seconds.
        """
        patience, later = LAST_SECONDS, self._submitted == done
        while self.beside is not None and self.beside.pending > later:
            self._write(self.beside.collect(wait=0.1))
            if self.stop():
                patience -= 0.1
                if patience < 0:
                    self.beside.close()
                    self._lost = True
        return not self._lost

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Wait for the last asynchronous evaluations."""
        self.wait_for_earlier(self.total)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """End the other process. Its evaluations are lost, so no further checkpoint may be written.

        If no seed is left (`Diverged`), they are waited for: the run ends here, with a checkpoint.
        """
        if self.beside is not None and not (isinstance(exception, Diverged) and self.wait_for_earlier(self.total)):
            self._lost = True
        self.teardown(trainer, pl_module, "fit")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """End the other process."""
        if self.beside is not None:
            self.beside.close()

    def _show_earlier(self) -> None:
        """Take the latest return of an earlier session from the file."""
        rows = self.file.rows()
        newest = [row for row in rows if row["update"] == rows[-1]["update"]]
        if newest:
            self.latest = sum(float(row["return"]) for row in newest) / len(newest)

    def _written(self, module: OfflineModule) -> bool:
        """Return whether all rows of the present update exist. (On a full disk, some may be missing.)

        A seed whose weights are not finite plays no episodes.
        """
        rows = [row for row in self.file.rows() if int(row["update"]) == module.done]
        seeds = module.algorithm.seeds
        return len(rows) == (len(seeds) - len(unsound_weights(module.algorithm, seeds))) * self.episodes

    def _evaluate(self, module: OfflineModule) -> None:
        update, algorithm = module.done, module.algorithm
        if self.beside is not None and update:
            self.beside.submit(update, algorithm, self.episodes)
            self._submitted = update
            return
        began = time.monotonic()
        try:
            found = evaluate(
                algorithm, self.env, update, self.episodes, self.stop, on_step=self.on_step, precision=self.precision
            )
        except RolloutStopped:
            return
        self.seconds += time.monotonic() - began
        self._write([found])
        if not update:
            self.say(f"environment works: the untrained policy returns {shown(self.latest or 0.0)} on average")
            if self.beside is not None:
                self.env.close()  # from now on the other process evaluates

    def _write(self, finished: Sequence[Evaluation]) -> None:
        for done in finished:
            for line in kept_failures(self.file.path.parent, done.unplayed, f"update-{done.update}"):
                self.say(f"evaluation after update {done.update} is short: {line}")
            for unsound in done.unsound:
                self.say(f"evaluation after update {done.update} is short: {unsound.line}")
            self.file.append([episode_row(done.update, episode, None) for episode in done.episodes])
            log_evaluation(self._loggers, done.update, done.episodes)
            lost = [each.seed for each in frozen_seeds(self._algorithm)]
            counted = [episode for episode in done.episodes if episode.seed not in lost] or done.episodes
            self.latest = sum(episode.return_ for episode in counted) / len(counted)
