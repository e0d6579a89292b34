"""The LightningModule: a block of updates per `training_step`, and the state that a resume needs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

import torch
from lightning import LightningModule
from torch import Tensor

from vgm2p.algos.contract import Algorithm
from vgm2p.nn.fast.kernels import tf32_products
from vgm2p.rng import StaticKey, UpdateKey
from vgm2p.training.capture import Captured
from vgm2p.training.logs import log_diagnostics
from vgm2p.types import Batch, Needs, Randomness

FORMAT = 1
Capture = Literal["off", "try", "require"]  # try: updates run one by one where capture fails


class Source(Protocol):
    """Where batches come from: a dataset on the training device."""

    def draw(self, key: Randomness, batch_size: int, needs: Needs) -> Batch:
        """Return the transitions of one update, (S, B, ...), with what `needs` names."""
        ...

    def to(self, device: torch.device) -> Any:
        """Move to the training device."""
        ...


class Diagnostics:
    """Sums of the algorithm's diagnostics since the last log, on the device: one host transfer per log."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.count = 0

    def add(self, info: dict[str, Tensor]) -> None:
        """Add one update's diagnostics, each (S,), to the sums; the caller counts the updates."""
        for name, value in info.items():
            held = self.sums.get(name)
            self.sums[name] = value.to(torch.float64, copy=True) if held is None else held.add_(value)

    def means(self) -> dict[str, list[float]]:
        """Return the mean per seed since the last `clear`."""
        if not self.count:
            return {}
        table = torch.stack(list(self.sums.values())).cpu() / self.count
        return dict(zip(self.sums, table.tolist(), strict=True))

    def clear(self) -> None:
        """Begin a new window; the sums keep their addresses."""
        for held in self.sums.values():
            held.zero_()
        self.count = 0


class OfflineModule(LightningModule):
    """Runs `algorithm.step` on batches of `source`, K updates per `training_step`.

    The only clock is the buffer `updates`; Lightning's `global_step` counts other things under manual optimisation
    (once per optimiser step) and is not used. Randomness is a function of (seed, update), so parameters, optimiser
    state and this buffer are all that a bit-identical resume needs.

    Args:
        algorithm: what to train.
        source: the resident dataset.
        batch_size: transitions per update and seed.
        config: the configuration that files keep, plain containers: stored in every checkpoint, given to the loggers.
        stop: polled between updates; True ends the block early.
        capture: whether to replay an update as a CUDA graph.
        tf32: whether to multiply float32 matrices in TF32.
        log_every: updates whose diagnostics are averaged and given to the loggers at once.

    Attributes:
        done: updates so far.
        latest: means over seeds of the newest diagnostics that were logged.
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
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.algorithm = algorithm
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self.updates: Tensor
        self.done = 0  # host mirror of `updates`
        self.latest: dict[str, float] = {}
        self.diagnostics = Diagnostics()
        self.config = dict(config or {})
        self._source, self._batch_size, self._stop = source, batch_size, stop
        self._capture, self._tf32, self._log_every = capture, tf32, log_every
        self._key: UpdateKey | None = None
        self._captured: Callable[[int], None] | None = None

    def configure_optimizers(self) -> Sequence[torch.optim.Optimizer]:
        """Show the algorithm's optimisers to Lightning, which checkpoints them."""
        return list(self.algorithm.optimisers.values())

    def on_fit_start(self) -> None:
        """Put data, random streams and a resumed log window on the training device; tell loggers the settings."""
        self._source.to(self.device)
        self._key, self._captured = UpdateKey(self.algorithm.seeds, self.device), None
        self.diagnostics.sums = {name: value.to(self.device) for name, value in self.diagnostics.sums.items()}
        for logger in self.loggers:
            logger.log_hyperparams(self.config)

    def training_step(self, block: tuple[int, int], batch_idx: int) -> None:
        """Run updates block[0] .. block[1] - 1."""
        if torch.is_autocast_enabled(self.device.type):
            # one autocast region spans the block: cached half-precision weights would go stale after the first update
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
        if self.done % self._log_every == 0:
            self._log_window()

    def _log_window(self) -> None:
        """Give the means since the last log to the loggers: one host transfer."""
        means = self.diagnostics.means()
        self.diagnostics.clear()
        if means:
            self.latest = {name: sum(values) / len(values) for name, values in means.items()}
            log_diagnostics(self.loggers, self.done, self.algorithm.seeds, means)

    def _runner(self) -> Callable[[int], None]:
        """Return what does one update: the captured one if asked for (made in Lightning's precision context)."""
        if self._capture != "off" and self._captured is None:
            try:
                self._captured = Captured(self._update, self.state, StaticKey(self.algorithm.seeds, self.device))
            except RuntimeError as error:
                if self._capture == "require":
                    raise
                self._captured = self._eager
                warnings.warn(f"updates run one by one: capture failed ({str(error).splitlines()[0]})", stacklevel=2)
        return self._captured or self._eager

    def _eager(self, update: int) -> None:
        assert self._key is not None
        self._update(self._key.at(update))

    def _update(self, key: Randomness) -> None:
        self.diagnostics.add(self.algorithm.step(self._draw(key), key))

    def state(self) -> list[Tensor]:
        """Return every tensor that an update changes; their addresses never do."""
        return [*self.algorithm.state(), *self.diagnostics.sums.values()]

    def _draw(self, key: Randomness) -> Batch:
        return self._source.draw(key, self._batch_size, self.algorithm.needs)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what Lightning does not keep: our clock, the open log window, the configuration, the task."""
        checkpoint["vgm2p"] = {
            "format": FORMAT,
            "updates": self.done,
            "config": self.config,
            "spec": self.algorithm.spec.to_dict(),
            "seeds": list(self.algorithm.seeds),
            "window": {name: value.clone() for name, value in self.diagnostics.sums.items()},
            "window_count": self.diagnostics.count,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore clock and log window; drop Lightning's loop counters, which train a wrong number of updates."""
        checkpoint.pop("loops", None)
        ours = checkpoint["vgm2p"]
        self.done = ours["updates"]
        self.diagnostics.sums = dict(ours["window"])
        self.diagnostics.count = ours["window_count"]
