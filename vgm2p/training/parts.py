"""Callbacks and loggers of a run, built from the groups `callbacks` and `logger`: ours and the user's in the same way.

A node names a class by `_target_`; its other keys are arguments of the constructor. A class that needs the run has a
class method `for_run(run, **keys)`. It may return None if the run does not need the object.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

from lightning import Callback, Trainer
from lightning.pytorch import callbacks as theirs
from lightning.pytorch.loggers import Logger

from vgm2p.config.build import check_nested
from vgm2p.config.plugins import build_plugin, plugin_class
from vgm2p.config.settings import FitSettings
from vgm2p.errors import ConfigError
from vgm2p.execution.rollout import OnStep
from vgm2p.training.run import Run

Part = TypeVar("Part")
WRONG_CLOCK = (  # callbacks that act by epochs, batches or seconds; our clock counts updates
    theirs.BatchSizeFinder,
    theirs.EarlyStopping,
    theirs.GradientAccumulationScheduler,
    theirs.LearningRateFinder,
    theirs.ModelCheckpoint,
    theirs.OnExceptionCheckpoint,
    theirs.ProgressBar,
    theirs.StochasticWeightAveraging,
    theirs.Timer,
    theirs.WeightAveraging,
)


@runtime_checkable
class EvaluationLog(Protocol):
    """Interface of a callback that evaluates during training, for checkpoints and progress.

    Attributes:
        latest: mean return of the latest evaluation; None before the first one.
        seconds: how long training has waited for evaluations, in seconds.
        on_step: called while training waits, as `on_step` of `vgm2p.execution.rollout.rollout`.
    """

    latest: float | None
    seconds: float
    on_step: OnStep | None

    def wait_for_earlier(self, done: int) -> bool:
        """Wait until asynchronous evaluations of updates before `done` are written. False: a signal stopped one."""
        ...


@runtime_checkable
class ResultsReader(Protocol):
    """Interface of a callback that uses the results of a finished run."""

    def on_results(self, results: Mapping[str, Any]) -> None:
        """Use the content of results.json, which is already on disk."""
        ...


def evaluation_logs(trainer: Trainer) -> list[EvaluationLog]:
    """Return the callbacks of a Trainer that evaluate."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return [callback for callback in callbacks if isinstance(callback, EvaluationLog)]


def check_parts(settings: FitSettings) -> None:
    """Raise ConfigError or MissingInput for the first node whose class cannot be used. Builds nothing."""
    check_nested(settings.trainer.lightning, "trainer")
    list(_classes(settings.callbacks, "callbacks", Callback))
    list(_classes(settings.logger, "logger", Logger))  # type: ignore[type-abstract]


def make_loggers(run: Run) -> list[Logger]:
    """Build the loggers of the group `logger`."""
    chosen = _classes(run.settings.logger, "logger", Logger)  # type: ignore[type-abstract]
    built = [build_plugin(cls, node, where, run) for where, cls, node in chosen]
    return [logger for logger in built if logger is not None]


def make_callbacks(run: Run) -> list[Callback]:
    """Build the callbacks of the group `callbacks`, in the order in which they act.

    Evaluations come first, and callbacks that save (subclasses of Lightning's `Checkpoint`) come last. So the rows of
    an evaluation are on disk before the checkpoint of the same update. The other callbacks keep their order.
    """

    def place(callback: Callback) -> int:
        return 0 if isinstance(callback, EvaluationLog) else 2 if isinstance(callback, theirs.Checkpoint) else 1

    chosen = _classes(run.settings.callbacks, "callbacks", Callback)
    built = [build_plugin(cls, node, where, run) for where, cls, node in chosen]
    return sorted((callback for callback in built if callback is not None), key=place)


def intervals(callbacks: Sequence[Callback]) -> list[int]:
    """Return the intervals, in updates, of callbacks with an attribute `every`. Blocks end at multiples of them."""
    found = [getattr(callback, "every", None) for callback in callbacks]
    return [every for every in found if isinstance(every, int) and every > 0]


def _classes(
    group: Mapping[str, Any], name: str, kind: type[Part]
) -> Iterator[tuple[str, type[Part], Mapping[str, Any]]]:
    """Yield the dotted name, the class and the keys of every node. A node that is null or false is left out."""
    for key, node in group.items():
        if node is None or node is False:
            continue
        where = f"{name}.{key}"
        cls = plugin_class(node, where, kind)
        if issubclass(cls, WRONG_CLOCK):
            raise ConfigError(
                f"{where}: Lightning's {cls.__name__} does not count updates; use updates, eval_every, "
                "checkpoint_every or your own callback"
            )
        yield where, cls, node
