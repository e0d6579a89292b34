"""Seeds that froze because a loss was not finite: they are told when it happens. A run without other seeds ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lightning import Callback, LightningModule, Trainer
from torch import Tensor, finfo, float32

from vgm2p.errors import Diverged
from vgm2p.execution.frozen import frozen_seeds
from vgm2p.training.module import OfflineModule
from vgm2p.types import Survey

REMEDY = "scale the rewards, or lower optim.lr"
OVERFLOWS = finfo(float32).max ** 0.5  # the square of a larger number is infinite in float32


def too_large(summary: dict[str, Any], survey: Survey) -> str | None:
    """Return a line about data whose squares are infinite in float32; None if there are none.

    Args:
        summary: facts about the data, with `return_min` and `return_max`.
        survey: statistics of the data.
    """
    largest = max(abs(summary["return_min"]), abs(summary["return_max"]))
    if not largest < OVERFLOWS:
        return (
            f"returns up to {largest:.2g}: their squares are infinite in float32, and so is a loss; scale the rewards"
        )
    if not all(_finite(each) for each in (survey.mean, survey.std)):
        return "observations whose mean or deviation is infinite in float32: no network can read them; scale them"
    return None


def _finite(values: Tensor) -> bool:
    return bool(values.isfinite().all())


class Freezing(Callback):
    """Tells which seeds have frozen, after the block in which it happened. Raises Diverged if none is left.

    Args:
        say: prints one line.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self._told: set[int] = set()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """In a run that continues, tell which seeds are frozen."""
        self._look(pl_module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *unused: Any) -> None:
        """Look for seeds that have frozen in this block."""
        self._look(pl_module)

    def _look(self, module: LightningModule) -> None:
        assert isinstance(module, OfflineModule)
        found = frozen_seeds(module.algorithm)
        for each in found:
            if each.seed not in self._told:
                self._told.add(each.seed)
                self.say(f"diverged     {each.line}; it is no longer trained, and its returns are no result")
        if len(found) == len(module.algorithm.seeds):
            raise Diverged(f"{found[0].line}; no seed is left, so the run ends; {REMEDY}")
