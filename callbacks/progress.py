"""Progress: a bar on a terminal, plain lines elsewhere: updates/s, time left, losses, latest return."""

from __future__ import annotations

import sys
import time
from typing import Any

from lightning import Callback, LightningModule, Trainer
from tqdm import tqdm

from vgm2p.callbacks.evaluate import Evaluate
from vgm2p.callbacks.logs import MetricsLog
from vgm2p.io.text import shown
from vgm2p.run.folder import format_seconds

SHOWN = ("critic_loss", "policy_loss", "c1_fraction")


class Progress(Callback):
    """Shows where a run stands at most every `seconds` seconds."""

    def __init__(self, total: int, logs: MetricsLog, evaluation: Evaluate | None, seconds: float) -> None:
        self.total, self.logs, self.evaluation, self.seconds = total, logs, evaluation, seconds
        self._bar: Any = None
        self._first = 0
        self._start = self._last = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._first = pl_module.done  # type: ignore[assignment]
        self._start = time.monotonic()
        self._last = self._start - self.seconds + min(5.0, self.seconds)
        if sys.stderr.isatty():
            self._bar = tqdm(total=self.total, initial=self._first, unit="update", dynamic_ncols=True)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *unused: Any) -> None:
        """Show the state after a block."""
        done: int = pl_module.done  # type: ignore[assignment]
        if self._bar is not None:
            self._bar.update(done - self._bar.n)
            self._bar.set_postfix_str(self._state(), refresh=False)
        elif time.monotonic() - self._last >= self.seconds or done == self.total:
            self._last = time.monotonic()
            print(self._line(done), flush=True)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave the terminal in order."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _line(self, done: int) -> str:
        rate = (done - self._first) / max(time.monotonic() - self._start, 1e-9)
        left = format_seconds((self.total - done) / rate) if rate else "?"
        return f"update {done}/{self.total}  {rate:.1f} updates/s  left {left}  {self._state()}"

    def _state(self) -> str:
        parts = [f"{name} {self.logs.latest[name]:.3g}" for name in SHOWN if name in self.logs.latest]
        if self.evaluation is not None and self.evaluation.latest is not None:
            parts.append(f"return {shown(self.evaluation.latest)}")
        return "  ".join(parts)
