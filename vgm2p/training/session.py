"""One session of a run: load the data, do the missing updates, evaluate, write the results."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch
from lightning import Callback
from lightning.pytorch.loggers import Logger

from vgm2p.algos.contract import Algorithm
from vgm2p.config.build import make_algorithm
from vgm2p.config.checks import check_keys, check_pair, check_spec, check_updates
from vgm2p.config.nodes import to_plain
from vgm2p.config.settings import stored_part
from vgm2p.datamodules.offline import Blocks, OfflineDataModule
from vgm2p.errors import ConfigError, Diverged, ServiceError, UserError
from vgm2p.execution.rollout import Unplayable
from vgm2p.run.checkpoint import newest_intact, update_of
from vgm2p.run.folder import kept_failures
from vgm2p.run.marks import marks_at
from vgm2p.run.resume_point import cut_logs
from vgm2p.training.drift import Drift
from vgm2p.training.final_evaluation import evaluate_finally, write_without_returns
from vgm2p.training.finishing import close, publish, write_timing
from vgm2p.training.freezing import Freezing, too_large
from vgm2p.training.introduction import compare_with_before, introduce
from vgm2p.training.logs import log_times
from vgm2p.training.manifest import manifest
from vgm2p.training.module import Capture, OfflineModule
from vgm2p.training.parts import intervals, make_callbacks, make_loggers
from vgm2p.training.run import Run, wanted
from vgm2p.training.stopping import Stopping
from vgm2p.training.threads import set_threads
from vgm2p.training.trainer import BLOCK, make_trainer


def train(run: Run, algorithm_type: type[Algorithm], data: OfflineDataModule, on_begin: Callable[[], None]) -> None:
    """Load the data, and do one session of a run, from its resume point to its results.

    `on_begin` is called when the data are loaded and manifest.json is written: after this, the run is not refused.

    Raises a UserError for everything that a user can cause, and Interrupted if a signal arrived.
    """
    loggers = make_loggers(run)
    callbacks = [Freezing(run.say), Drift(run.say), *make_callbacks(run), Stopping(run.folder, run.stop)]
    threads = set_threads(run.settings)
    data.device = run.device
    module = make_module(run, data, algorithm_type)
    record = manifest(run, module.algorithm.spec, data.store.summary, threads)
    compare_with_before(run, record)
    cut_logs(run.folder, run.point)
    run.folder.begin(record)
    on_begin()
    block = BLOCK[run.device.type] if run.settings.block_updates == "auto" else run.settings.block_updates
    introduce(run, record, block, data.memory, module.algorithm.remark)
    every, early = log_times(run.settings.log_every)
    edges = [every, run.settings.eval_every, run.settings.checkpoint_every, *intervals(callbacks)]
    data.schedule(lambda: Blocks(module.done, run.settings.updates, block, edges, early))
    began, status = time.monotonic(), "failed"
    try:
        fit(run, module, data, callbacks, loggers)
        fitted = time.monotonic()
        results, episodes = evaluate_finally(run, module, data.store.summary, data.achieved())
        publish(callbacks, loggers, results, episodes)
        status = "success"
    except Diverged as error:
        write_without_returns(run, module, data.store.summary, data.achieved(), error.line)
        raise
    except Unplayable as error:
        for line in kept_failures(run.folder.path, [error.failure], "last"):
            run.say(line)
        raise
    finally:
        close(loggers, status)
    write_timing(run, module.done, fitted - began, time.monotonic() - began)


def discount_of(algorithm: Algorithm) -> float:
    """Return `gamma`. Raises ConfigError if the algorithm sets none, and reads returns-to-go."""
    given = "gamma" in vars(algorithm) or type(algorithm).gamma != Algorithm.gamma
    if not given and algorithm.needs.fields & {"return_to_go", "return_seen"}:
        raise ConfigError(
            f"{type(algorithm).__name__} reads returns-to-go; set self.gamma, their discount, in __init__"
        )
    return algorithm.gamma


def make_module(run: Run, data: OfflineDataModule, algorithm_type: type[Algorithm]) -> OfflineModule:
    """Load the data and return the module with the algorithm, ready for training.

    Raises ConfigError if data, environment, algorithm and `trainer.capture` do not fit together.
    """
    settings, store = run.settings, data.store
    capture = capture_of(settings.trainer.capture, store.resident, run.device, run.say)
    if run.env is not None:
        check_spec(store.spec, run.env.spec)
    check_pair(algorithm_type, store.spec, settings.seeds, settings.algorithm)
    if run.point.checkpoint is None:
        check_keys(algorithm_type, store.spec.discrete, settings.overrides, settings.algorithm)
    algorithm = make_algorithm(settings.policy, store.spec)
    check_updates(algorithm, settings.updates, settings.algorithm)
    data.draw_as(algorithm_type.draws(store.spec.discrete))  # if nothing told the kind of actions before
    discount = discount_of(algorithm)
    survey = store.survey(discount)
    large = too_large(store.summary, survey)
    if large is not None:
        run.say(f"warning      {large}")
    algorithm.survey(survey)
    store.provide(algorithm.needs, discount)
    return OfflineModule(
        algorithm,
        store,
        data.batch_size,
        stored_part(to_plain(settings)),
        run.stop.requested,
        capture,
        settings.trainer.tf32,
        *log_times(settings.log_every),
        lambda done: marks_at(run.folder, done),
    )


def capture_of(choice: bool | str, resident: bool, device: torch.device, say: Callable[[str], None]) -> Capture:
    """Return what `trainer.capture` means for these data on this device; `auto` tries to capture on CUDA.

    Prints that updates on data mapped from disk are not captured. Raises ConfigError for `true` with such data.
    """
    if not wanted(choice, device):
        return "off"
    if resident:
        return "require" if choice is True else "try"
    if choice is True:
        raise ConfigError("trainer.capture=true needs resident data; raise data.max_resident, or use auto (eager)")
    say("capture      off: updates on data mapped from disk run eagerly")
    return "off"


def fit(
    run: Run,
    module: OfflineModule,
    data: OfflineDataModule,
    callbacks: Sequence[Callback],
    loggers: Sequence[Logger],
) -> None:
    """Do the missing updates.

    At the end, the diagnostics since the last log are logged. The last checkpoint does not know these rows: a run that
    goes on from it, with more updates, deletes them and continues the same window.

    Raises:
        ServiceError: if an environment fails. The training so far is saved.
        UserError: if a callback ended training before the last update.
    """
    settings, folder = run.settings, run.folder
    further = settings.trainer.lightning
    trainer = make_trainer(run.device, settings.trainer.precision, callbacks, loggers, folder.path, further)
    run.stop.graceful = True
    try:
        trainer.fit(module, datamodule=data, ckpt_path=run.point.checkpoint, weights_only=True)
    except ServiceError as error:
        kept, _ = newest_intact(folder.checkpoints)
        place = f"update {update_of(kept)}" if kept else "the beginning"
        line = f"{error.line}; the same command continues from {place} (or evaluate=none)"
        raise (Unplayable(line, error.failure) if isinstance(error, Unplayable) else ServiceError(line)) from None
    if module.done < settings.updates:
        raise UserError(
            f"a callback ended training after update {module.done} of {settings.updates}; the same command continues, "
            f"updates={module.done} ends the run here"
        )
    module.log_window(loggers)
