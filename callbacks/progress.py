"""Progress of a run: latest return, losses, updates per second, time left. A bar in a terminal, otherwise lines.

In the bar the return stands at the left, because a narrow terminal cuts off what stands at the right.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from lightning import Callback, LightningModule, Trainer
from tqdm import tqdm

from vgm2p.execution.evaluation import evaluating
from vgm2p.io.text import say, shown
from vgm2p.run.folder import format_seconds
from vgm2p.run.speed import Speed
from vgm2p.training.module import OfflineModule
from vgm2p.training.parts import EvaluationLog, evaluation_logs
from vgm2p.training.run import Run

SHOWN = ("critic_loss", "policy_loss", "plan_loss", "inverse_loss", "c1_fraction")
FIRST_SECONDS = 5.0  # the first line is shown after at most this time


class Progress(Callback):
    """Shows the progress of a run, as a line at most every `seconds` seconds or as a bar.

    Args:
        total: number of updates of the run.
        seconds: shortest time between two lines.
        clock: returns a monotonic time in seconds.
        show: prints one line.
    """

    def __init__(
        self,
        total: int,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
        show: Callable[[str], None] = say,
    ) -> None:
        self.total, self.seconds, self.clock, self.show = total, seconds, clock, show
        self._evaluation: EvaluationLog | None = None
        self._module: OfflineModule | None = None
        self._bar: Any = None
        self._speed = Speed(0, 0.0)
        self._last = 0.0  # when the last line was shown

    @classmethod
    def for_run(cls, run: Run, seconds: float = 10.0) -> Progress:
        """Return the callback of a run."""
        return cls(run.settings.updates, seconds, show=run.say)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show how far the evaluation of the untrained policy is."""
        assert isinstance(pl_module, OfflineModule)
        self._module, self._last = pl_module, self.clock() - self.seconds + min(FIRST_SECONDS, self.seconds)
        for evaluation in evaluation_logs(trainer):
            self._evaluation, evaluation.on_step = evaluation, self._evaluating

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock of the speed, and in a terminal the bar."""
        assert isinstance(pl_module, OfflineModule)
        self._speed = Speed(pl_module.done, self.clock(), self._waited())
        if _has_width():
            self._bar = tqdm(total=self.total, initial=pl_module.done, unit="update", dynamic_ncols=True)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *unused: Any) -> None:
        """Show the progress after a block."""
        assert isinstance(pl_module, OfflineModule)
        done = pl_module.done
        if self._bar is not None:
            self._bar.set_description(self._return() or "no return yet", refresh=False)
            self._bar.set_postfix_str("  ".join(self._losses(pl_module)), refresh=False)
            self._bar.update(done - self._bar.n)
        elif self._due(self.seconds) or done == self.total:
            latest = self._return()
            self._show(pl_module, [*([latest] if latest else []), *self._losses(pl_module), *self._pace(done)])

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _evaluating(self, step: int, ended: int, total: int) -> None:
        """Show that training waits for an evaluation, and how far it is."""
        assert self._module is not None
        state = evaluating(step, ended, total)
        if self._bar is not None:
            latest = self._return()
            self._bar.set_description(f"{latest}, {state}" if latest else state)
        elif self._due(max(self.seconds, 1.0)):
            self._show(self._module, [state])

    def _due(self, seconds: float) -> bool:
        return self.clock() - self._last >= seconds

    def _show(self, module: OfflineModule, parts: list[str]) -> None:
        self._last = self.clock()
        self.show("  ".join([f"update {module.done}/{self.total}", *parts]))

    def _return(self) -> str:
        """Return the latest mean return as text; empty before the first evaluation."""
        latest = None if self._evaluation is None else self._evaluation.latest
        return "" if latest is None else f"return {shown(latest)}"

    def _losses(self, module: OfflineModule) -> list[str]:
        return [f"{name} {module.latest[name]:.3g}" for name in SHOWN if name in module.latest]

    def _pace(self, done: int) -> list[str]:
        """Return the speed since the last line, and the time left."""
        self._speed.look(done, self.clock(), self._waited())
        left = self._speed.left(self.total - done)
        return [f"{self._speed.rate:.1f} updates/s", f"left {'?' if left is None else format_seconds(left)}"]

    def _waited(self) -> float:
        """Return the seconds of all evaluations so far."""
        return 0.0 if self._evaluation is None else self._evaluation.seconds


def _has_width() -> bool:
    """Return whether the errors go to a terminal with columns. One without a size cannot show a bar."""
    with contextlib.suppress(OSError):
        return sys.stderr.isatty() and os.get_terminal_size(sys.stderr.fileno()).columns > 0
    return False
