"""The LightningModule: runs a block of updates per `training_step`, and saves the state that a resume needs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal, Protocol

import torch
from lightning import LightningModule
from lightning.fabric.loggers.logger import Logger
from torch import Tensor

from vgm2p.algos.contract import Algorithm
from vgm2p.algos.spread import has_spread, spread
from vgm2p.nn.fast.kernels import tf32_products
from vgm2p.rng import StaticKey, UpdateKey
from vgm2p.run.checkpoint import FORMAT
from vgm2p.training.capture import Captured
from vgm2p.training.logs import log_diagnostics, means_of_sound
from vgm2p.types import Batch, Needs, Randomness

Capture = Literal["off", "try", "require"]  # try: if the capture fails, updates run eagerly


class Source(Protocol):
    """A dataset that draws batches on the training device."""

    def draw(self, key: Randomness, batch_size: int, needs: Needs) -> Batch:
        """Return the transitions of one update, (S, B, ...), with the fields that `needs` names."""
        ...

    def to(self, device: torch.device) -> Any:
        """Move to the training device."""
        ...


class Diagnostics:
    """Sums of the diagnostics since the last log. They stay on the device: one host transfer per log."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.count = 0

    def add(self, info: dict[str, Tensor]) -> None:
        """Add the diagnostics of one update, each (S,), to the sums. The caller counts the updates."""
        for name, value in info.items():
            held = self.sums.get(name)
            value = value.detach()  # with a gradient, the sums would keep every update in memory
            self.sums[name] = value.to(torch.float64, copy=True) if held is None else held.add_(value)

    def means(self) -> dict[str, list[float]]:
        """Return the means since the last `clear`: name -> S numbers."""
        if not self.count:
            return {}
        table = torch.stack(list(self.sums.values())).cpu() / self.count
        return dict(zip(self.sums, table.tolist(), strict=True))

    def clear(self) -> None:
        """Start a new window. The sums keep their addresses, because a captured update writes to them."""
        for held in self.sums.values():
            held.zero_()
        self.count = 0


class OfflineModule(LightningModule):
    """Runs `algorithm.step` on batches of `source`, K updates per `training_step`.

    The clock is the buffer `updates`. Lightning's `global_step` stays 0: it counts steps through Lightning's optimisers
    alone, and all seeds step together outside them (`SeedAdam.minimise`). Random numbers are a function of (seed,
    update). So parameters, optimiser state and this buffer are enough to resume a run bit for bit.

    Args:
        algorithm: the algorithm to train.
        source: the dataset.
        batch_size: number of transitions per update and seed.
        config: configuration as plain containers; stored in every checkpoint and sent to the loggers.
        stop: called between updates; if it returns True, the block ends early.
        capture: whether to replay updates as a CUDA graph.
        tf32: whether to multiply float32 matrices in TF32.
        log_every: number of updates whose mean diagnostics are logged together.
        log_early: updates after which the diagnostics are logged as well.
        logs: maps the number of updates to marks of the run's logs, for checkpoints; None: there are no logs.

    Attributes:
        done: number of updates so far.
        latest: diagnostics of the last log, averaged over seeds.
        logged: the same, one number per seed.
        spread: name -> S numbers, the latest measured spread of the policy's draws (`algos.spread`).
    """

    def __init__(
        self,
        algorithm: Algorithm,
        source: Source,
        batch_size: int,
        config: Mapping[str, Any] | None = None,
        stop: Callable[[], bool] = lambda: False,
        capture: Capture = "off",
        tf32: bool = False,
        log_every: int = 500,
        log_early: Collection[int] = (),
        logs: Callable[[int], Mapping[str, Any] | None] = lambda done: None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.algorithm = algorithm
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self.updates: Tensor
        self.done = 0  # copy of `updates` on the host
        self.latest: dict[str, float] = {}
        self.logged: dict[str, list[float]] = {}
        self.spread: dict[str, list[float]] = {}
        self.diagnostics = Diagnostics()
        self.config = dict(config or {})
        self._source, self._batch_size, self._stop = source, batch_size, stop
        self._capture, self._tf32, self._logs = capture, tf32, logs
        self._log_every, self._log_early = log_every, log_early
        self._key: UpdateKey | None = None
        self._captured: Callable[[int], None] | None = None

    def configure_optimizers(self) -> Sequence[torch.optim.Optimizer]:
        """Return the algorithm's optimisers to Lightning, which saves them in checkpoints."""
        return list(self.algorithm.optimisers.values())

    def on_fit_start(self) -> None:
        """Move data, random numbers and a resumed log window to the training device; send the settings to loggers."""
        self._source.to(self.device)
        self._key, self._captured = UpdateKey(self.algorithm.seeds, self.device), None
        self.diagnostics.sums = {name: value.to(self.device) for name, value in self.diagnostics.sums.items()}
        for logger in self.loggers:
            logger.log_hyperparams(self.config)
        self._measure_open_window()  # a run that was stopped after its last update trains no more, but logs this window

    def training_step(self, block: tuple[int, int], batch_idx: int) -> None:
        """Run the updates block[0], ..., block[1] - 1."""
        if torch.is_autocast_enabled(self.device.type):
            # one autocast region covers the block: its cached half-precision weights would be outdated after one update
            torch.set_autocast_cache_enabled(False)
        with tf32_products(self._tf32):
            run = self._runner()
            for update in range(*block):
                if self._stop():
                    break
                run(update)
                self.diagnostics.count += 1
                self.done = update + 1
        self.updates.fill_(self.done)
        if self.done % self._log_every == 0 or self.done in self._log_early:
            self._measure()
            self.log_window(self.loggers)
            self.diagnostics.clear()

    def log_window(self, loggers: Sequence[Logger]) -> None:
        """Send the means since the last log, if there are any, to the loggers (one host transfer)."""
        means = self.diagnostics.means()
        if means:
            means |= self.spread
            self.logged = means
            self.latest = means_of_sound(means)
            log_diagnostics(loggers, self.done, self.algorithm.seeds, means)

    def on_train_end(self) -> None:
        """Measure for the window that is still open. Later, Lightning moves the networks away from the data."""
        self._measure_open_window()

    def _measure_open_window(self) -> None:
        if self.diagnostics.count and self._trainer is not None:
            with self.trainer.precision_plugin.train_step_context():
                self._measure()

    def _measure(self) -> None:
        """Measure the spread of the policy's draws on the next batch."""
        if has_spread(self.algorithm):
            key = UpdateKey(self.algorithm.seeds, self.device)
            batch = self._source.draw(key.at(self.done), self._batch_size, self.algorithm.needs)
            found = spread(self.algorithm, batch, UpdateKey(key.seeds, self.device, "spread"), self.done)
            self.spread = {name: each.tolist() for name, each in found.items()}

    def _runner(self) -> Callable[[int], None]:
        """Return the function that does one update: captured (made in Lightning's precision context) or eager."""
        if self._capture != "off" and self._captured is None:
            try:
                self._captured = Captured(self._update, self.state, StaticKey(self.algorithm.seeds, self.device))
            except RuntimeError as error:
                if self._capture == "require":
                    raise
                self._captured = self._eager
                warnings.warn(f"updates run eagerly: capture failed ({str(error).splitlines()[0]})", stacklevel=2)
        return self._captured or self._eager

    def _eager(self, update: int) -> None:
        assert self._key is not None
        self._update(self._key.at(update))

    def _update(self, key: Randomness) -> None:
        self.diagnostics.add(self.algorithm.step(self._draw(key), key))

    def state(self) -> list[Tensor]:
        """Return every tensor that an update changes. Their addresses stay the same."""
        return [*self.algorithm.state(), *self.diagnostics.sums.values()]

    def _draw(self, key: Randomness) -> Batch:
        return self._source.draw(key, self._batch_size, self.algorithm.needs)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what Lightning does not save: the clock, the open log window, the configuration, the task."""
        checkpoint["vgm2p"] = {
            "format": FORMAT,
            "updates": self.done,
            "config": self.config,
            "spec": self.algorithm.spec.to_dict(),
            "seeds": list(self.algorithm.seeds),
            "window": {name: value.clone() for name, value in self.diagnostics.sums.items()},
            "window_count": self.diagnostics.count,
            "logs": self._logs(self.done),
            "froze": {name: clock.clone() for name, clock in self.algorithm.froze.items()},
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore clock and log window. Drop Lightning's loop counters: with them, it would stop at a wrong update."""
        checkpoint.pop("loops", None)
        ours = checkpoint["vgm2p"]
        self.done = ours["updates"]
        self.diagnostics.sums = dict(ours["window"])
        self.diagnostics.count = ours["window_count"]
        for name, clock in ours["froze"].items():
            self.algorithm.froze[name].copy_(clock)
