"""Callbacks and loggers of a run, built from the groups `callbacks` and `logger`: ours and a user's in the same way.

A node names a class by `_target_`; its other keys are the constructor's. A class that needs the run itself has a class
method `for_run(run, **keys)`, which may return None where the run has no use for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

from lightning import Callback, Trainer
from lightning.pytorch import callbacks as theirs
from lightning.pytorch.loggers import Logger

from vgm2p.config.plugins import build_plugin, plugin_class
from vgm2p.config.settings import FitSettings
from vgm2p.errors import ConfigError
from vgm2p.training.run import Run

Part = TypeVar("Part")
WRONG_CLOCK = (  # count epochs, batches or seconds, and end, save or change training by that
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
    """A callback that evaluates during training, as checkpoints and progress see it.

    Attributes:
        latest: mean return of the newest evaluation; None: there is none yet.
        seconds: for how long training has waited for evaluations.
        on_step: called with the number of each environment step while training waits.
    """

    latest: float | None
    seconds: float
    on_step: Callable[[int], None] | None

    def wait_for_earlier(self, done: int) -> bool:
        """Block until asynchronous evaluations of updates before `done` are written; False: a signal cut one off."""
        ...


@runtime_checkable
class ResultsReader(Protocol):
    """A callback that does something with the results of a finished run."""

    def on_results(self, results: Mapping[str, Any]) -> None:
        """Read the content of results.json, which is on disk."""
        ...


def evaluation_logs(trainer: Trainer) -> list[EvaluationLog]:
    """Return the callbacks of a Trainer that evaluate."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return [callback for callback in callbacks if isinstance(callback, EvaluationLog)]


def check_parts(settings: FitSettings) -> None:
    """Raise ConfigError or MissingInput for the first node whose class cannot be used; builds nothing."""
    list(_classes(settings.callbacks, "callbacks", Callback))
    list(_classes(settings.logger, "logger", Logger))  # type: ignore[type-abstract]


def make_loggers(run: Run) -> list[Logger]:
    """Build the loggers of the group `logger`."""
    chosen = _classes(run.settings.logger, "logger", Logger)  # type: ignore[type-abstract]
    built = [build_plugin(cls, node, where, run) for where, cls, node in chosen]
    return [logger for logger in built if logger is not None]


def make_callbacks(run: Run) -> list[Callback]:
    """Build the callbacks of the group `callbacks`, in the order that durability needs.

    What a checkpoint implies is on disk before it: evaluations come first, what saves comes last (a subclass of
    Lightning's `Checkpoint`); the others keep their order.
    """

    def place(callback: Callback) -> int:
        return 0 if isinstance(callback, EvaluationLog) else 2 if isinstance(callback, theirs.Checkpoint) else 1

    chosen = _classes(run.settings.callbacks, "callbacks", Callback)
    built = [build_plugin(cls, node, where, run) for where, cls, node in chosen]
    return sorted((callback for callback in built if callback is not None), key=place)


def intervals(callbacks: Sequence[Callback]) -> list[int]:
    """Return the intervals in updates that callbacks ask for by an attribute `every`: blocks end at their multiples."""
    found = [getattr(callback, "every", None) for callback in callbacks]
    return [every for every in found if isinstance(every, int) and every > 0]


def _classes(
    group: Mapping[str, Any], name: str, kind: type[Part]
) -> Iterator[tuple[str, type[Part], Mapping[str, Any]]]:
    """Yield dotted name, class and keys of every node; null and false leave a node out."""
    for key, node in group.items():
        if node is None or node is False:
            continue
        where = f"{name}.{key}"
        cls = plugin_class(node, where, kind)
        if issubclass(cls, WRONG_CLOCK):
            raise ConfigError(
                f"{where}: {cls.__name__} of Lightning does not count updates; use updates, eval_every, "
                "checkpoint_every or a callback of your own"
            )
        yield where, cls, node
