"""`vgm2p fit`: train or continue a run and its comparison runs, and print their table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from vgm2p.algos.contract import Algorithm
from vgm2p.config.build import algorithm_class, is_discrete, make_algorithm, make_data, make_env
from vgm2p.config.checks import check_actions, check_keys, check_machine, check_pair
from vgm2p.config.draws import draws_of
from vgm2p.config.nodes import to_plain
from vgm2p.config.settings import FitSettings, training_part
from vgm2p.config.stored import stored_spec
from vgm2p.datamodules.offline import OfflineDataModule
from vgm2p.datamodules.sources.recorded import Files
from vgm2p.envs.base import VectorEnv
from vgm2p.errors import Diverged, MissingInput, StorageError
from vgm2p.io.processes import end_with_parent
from vgm2p.io.text import say
from vgm2p.report.runs import check_finished
from vgm2p.report.summary import summarise
from vgm2p.run.belonging import misfit
from vgm2p.run.checkpoint import put_aside
from vgm2p.run.fingerprint import differences
from vgm2p.run.folder import RunFolder
from vgm2p.run.lock import FolderLock, cannot_write
from vgm2p.run.resume_point import ResumePoint, find_resume_point, is_finished
from vgm2p.signals import StopFlag
from vgm2p.training.comparisons import Comparisons, compared_with, report_folder
from vgm2p.training.finishing import is_complete, make_up
from vgm2p.training.introduction import refuse_other_digest
from vgm2p.training.parts import check_parts
from vgm2p.training.run import Run, device_of
from vgm2p.training.session import train
from vgm2p.training.trainer import quiet

SCHEDULE = "optim.decay_updates"


def run(settings: FitSettings, stop: StopFlag) -> None:
    """Train one configuration to its end, in its run folder.

    Raises UserError for all that a user can cause, and Diverged if a seed has no result.
    """
    stop.graceful = False  # an earlier run in the same process may have set it
    end_with_parent()
    check_machine(settings.trainer)
    check_parts(settings)
    settings = replace(settings, compare=compared_with(settings))
    quiet()
    algorithm_type = algorithm_class(settings.algo)
    settings, kind = with_draws(settings, algorithm_type)
    data = make_data(settings.data)
    folder = RunFolder(Path(settings.out))
    if not folder.manifest.exists():
        check_keys(algorithm_type, kind, settings.overrides, settings.algorithm)
    finished = is_finished(folder, settings.updates)
    with ExitStack() as stack:
        simulator = stack.enter_context(ExitStack())
        env = None if finished else _environment(settings, algorithm_type, simulator)
        writable = stack.enter_context(_claimed(folder, finished))
        point = resume_point(settings, folder, data)
        comparisons = stack.enter_context(Comparisons(settings, folder.path, say))
        device = device_of(settings.trainer.accelerator)
        if point.finished:
            _complete(Run(settings, folder, point, device, None, stop), writable)
            (comparisons.start if writable else comparisons.recall)()
        else:
            env = env or _environment(settings, algorithm_type, simulator)
            train(Run(settings, folder, point, device, env, stop), algorithm_type, data, comparisons.start)
        simulator.close()  # it is not needed while comparison runs end
        comparisons.wait(stop.requested)
        if stop.requested():
            raise stop.interruption("stopped while waiting for comparison runs; the same command continues")
        summarise(folder, comparisons.folders, say, writable)
    refuse_diverged(folder)


def with_draws(settings: FitSettings, algorithm_type: type[Algorithm]) -> tuple[FitSettings, bool | None]:
    """Return the settings with what `data.sampling=auto` means, as manifests hold them, and the kind of the actions.

    Raises ConfigError if the algorithm and the data have different kinds of actions, or if `data.ess` has no effect.
    """
    known = getattr(make_data(settings.data).source, "discrete", None)
    check_actions(algorithm_type, known, f"dataset {settings.data['name']}", settings.algorithm)
    kind = is_discrete(settings.env) if known is None else known
    return replace(settings, data=draws_of(settings.data, algorithm_type, kind)), kind


def refuse_diverged(folder: RunFolder) -> None:
    """Raise Diverged if a seed has no result, so that the exit code tells it."""
    lines = folder.read_results().get("diverged")
    if lines:
        more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
        raise Diverged(f"{lines[0]}{more}; results.json and the table mark it, other seeds are not affected")


@contextmanager
def _claimed(folder: RunFolder, finished: bool) -> Iterator[bool]:
    """Make and lock the run folder, and delete temporary files of dead processes.

    Yields False for a finished run whose folder cannot be written: its result can be shown all the same.
    """
    with ExitStack() as stack:
        writable = True
        try:
            stack.enter_context(folder.made())
            stack.enter_context(FolderLock(folder.path, say))
            folder.clean()
        except (OSError, StorageError) as error:
            if not finished or not cannot_write(error):
                raise
            say(f"{folder.path} cannot be written: the result is shown, and nothing else is done")
            writable = False
        report_folder(folder.path)
        yield writable


def _complete(run: Run, writable: bool) -> None:
    """Check the files of a finished run, and make up what a kill after its results has left undone."""
    check_finished(run.folder)
    if writable and not is_complete(run.folder, run.settings.updates):
        run.say("the run was ended before its plot and its times were written: they are made up")
        make_up(run)


def _same_data(folder: RunFolder, data: OfflineDataModule) -> bool:
    """Return whether the data have the digest of the data of the run in `folder`. Raises as `digest`."""
    about = folder.read_manifest().get("data")
    return isinstance(about, Mapping) and about.get("digest") == data.digest()


def _environment(settings: FitSettings, algorithm_type: type[Algorithm], stack: ExitStack) -> VectorEnv | None:
    """Build the environment before data are fetched, for `stack` to close; None for evaluate=none.

    Raises MissingInput if a simulator is missing; the message says how to train without it.
    """
    if settings.evaluate == "none":
        return None
    try:
        discrete = is_discrete(settings.env)
        check_actions(algorithm_type, discrete, f"env={settings.environment}", settings.algorithm)
        env = stack.enter_context(closing(make_env(settings.env)))
    except MissingInput as error:
        raise MissingInput(f"{error.line}; evaluate=none trains without evaluation") from None
    check_pair(algorithm_type, env.spec, settings.seeds, settings.algorithm)
    return env


def _refuse_other_data(folder: RunFolder, data: OfflineDataModule) -> None:
    """Raise DataError if the user's own files now name another hash of their content than in the training of the run.

    Other data are fetched or converted under the name of their content. Files that are no longer there are not needed.
    """
    if isinstance(data.source, Files):
        with suppress(MissingInput):
            refuse_other_digest(folder, data.digest())


def resume_point(settings: FitSettings, folder: RunFolder, data: OfflineDataModule) -> ResumePoint:
    """Return the point from which the run continues. Rename checkpoints that are skipped, and print which ones.

    Raises as `find_resume_point`, and DataError if the files of a finished run hold other data now.

    A dataset that was moved is known by the digest of its content: another `data.source` with the same digest is no
    change. A run that goes on for more updates may have another schedule of the learning rate; `compare_with_before`
    says so.
    """
    now = training_part(to_plain(settings))
    same_data = cache(partial(_same_data, folder, data))

    def changes(before: Mapping[str, Any]) -> list[str]:
        found = differences(training_part(before), now)
        moved = [change.key for change in found if change.moves_data]
        if moved and not same_data():
            return [f"{moved[0]} (and the data there are others)"]
        total = before.get("updates")
        longer = isinstance(total, int) and settings.updates > total
        allowed = {*moved, SCHEDULE} if longer else {*moved}
        return [str(change) for change in found if change.key not in allowed]

    def reason(content: Mapping[str, Any], update: int) -> str | None:
        spec = stored_spec(folder.read_manifest().get("spec"), folder.manifest)
        return misfit(content, update, make_algorithm(settings.policy, spec), changes)

    point = find_resume_point(folder, settings.updates, settings.resume, changes, reason)
    for notice in point.notices:
        say(notice)
    if point.finished:
        _refuse_other_data(folder, data)
        say(f"already finished: {folder.path}")
        return point
    for name in put_aside(folder.checkpoints, point.checkpoint):
        say(f"renamed {name} to {name}.aside")
    return point
