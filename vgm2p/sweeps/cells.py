"""Runs what Hydra has composed: a single run, or the cells of a sweep, in whichever process a launcher has chosen."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from vgm2p.errors import Interrupted, UserError
from vgm2p.io.faults import as_user_error
from vgm2p.io.files import write_atomic
from vgm2p.run.sweep import Outcome, Sweep, Worker, visible_devices
from vgm2p.signals import SIGNALS, StopFlag

STOP = StopFlag()
FAILURE: list[Exception] = []  # the exception of a single run; at most one
SIGNALLED = 128  # a larger exit code is that of a cell that a signal has stopped, not always the one that STOP got
WORKER: list[Worker] = []  # what follows the command, if this is a worker process of a sweep; at most one


def cell(cfg: Any) -> Outcome | None:
    """Run one composed configuration. In a sweep (multirun), return how it ended, and let the sweep continue."""
    from vgm2p.config.job import this_job

    name = this_job(cfg).name
    if name is None:
        try:
            _run(cfg)
        except Exception as error:
            FAILURE.append(error)  # `cli` raises it; if it were raised here, Hydra would print a line of its own
        return None
    sweep = Sweep.joined()
    if sweep.owner == os.getpid():
        try:
            outcome = _outcome(cfg)
        finally:
            STOP.graceful = True  # until the next run begins
    elif os.getppid() == sweep.owner:
        WORKER[:] = WORKER or [Worker(sweep, STOP, visible_devices())]
        with WORKER[0]:
            outcome = sweep.outcome(name) or _outcome_in_worker(cfg, sweep, name)
    else:
        outcome = _outcome_of_job(cfg)
    sweep.note(name, outcome)
    return outcome


def run_sweep(command: str, sweep: Sweep, hydra: Callable[[], None]) -> int:
    """Run a sweep with `hydra`, print how its cells ended, and return the largest of their exit codes.

    Raises Interrupted if a signal stopped it.
    """
    from vgm2p.config.sweeps.planned import Hooks
    from vgm2p.config.sweeps.plugins import install
    from vgm2p.sweeps.plan import choose, conclude

    total: list[int] = []

    def chosen(cells: Sequence[Any]) -> list[Any]:
        total.append(len(cells))
        return choose(cells, sweep, STOP) if command == "fit" else list(cells)

    install(Hooks(sweep, STOP, chosen))
    try:
        hydra()
    except Exception:
        if STOP.requested():  # the signal came first: it may have killed a worker process
            raise STOP.interruption(_stopped(sweep, total)) from None
        raise
    outcomes = sweep.outcomes()
    if STOP.requested() and any(outcome.code > SIGNALLED for outcome in outcomes):
        raise STOP.interruption(_stopped(sweep, total))
    return conclude(outcomes, command == "fit")


def _stopped(sweep: Sweep, total: Sequence[int]) -> str:
    ended = sum(outcome.code == 0 for outcome in sweep.outcomes())
    done = f": {ended} of {total[0]} cells are finished" if total else ""
    return f"the sweep was stopped{done}; the same command continues the others, each from its last saved state"


def _run(cfg: Any) -> float | None:
    """Do what a composed configuration describes. Returns its return, if this is a trial of a search."""
    from vgm2p.commands.start import start
    from vgm2p.config.compose import resolve
    from vgm2p.config.hydra_errors import explained
    from vgm2p.config.job import this_job
    from vgm2p.config.nodes import settings_of
    from vgm2p.config.words import SETTINGS

    job = this_job(cfg)
    config = explained(job.command, partial(resolve, cfg))
    settings = settings_of(config, SETTINGS[job.command])
    start(job.command, settings, STOP, single=job.name is None)
    if job.objective is None or job.command != "fit":
        return None
    from vgm2p.sweeps.objective import return_of

    return return_of(Path(settings.out), job.objective, job.estimate, STOP)


def _outcome(cfg: Any) -> Outcome:
    """Run a cell and return how it ended; an error is printed and kept. Raises Interrupted."""
    from vgm2p.config.job import this_job

    try:
        objective = _run(cfg)
    except Exception as error:
        return _failed(as_user_error(error), cfg)
    job = this_job(cfg)
    return Outcome(0, "", job.out, job.words, objective)


def _outcome_in_worker(cfg: Any, sweep: Sweep, name: str) -> Outcome:
    """Run a cell in a worker process of joblib. It must not raise, because joblib then kills the other workers."""
    STOP.graceful = True
    if signum := sweep.stopped():
        return _of(Interrupted(signum, "not started"), cfg)
    sweep.begin_cell(name)
    try:
        return _outcome(cfg)
    except Interrupted as error:
        return _failed(error, cfg)


def _outcome_of_job(cfg: Any) -> Outcome:
    """Run a cell in a process of another program, such as submitit. Raises Interrupted when the state is saved."""
    STOP.signum, STOP.graceful = None, True
    taken = {signum: signal.getsignal(signum) for signum in SIGNALS}
    STOP.install(also=(signal.SIGUSR2,))
    try:
        return _outcome(cfg)
    finally:
        for signum, handler in taken.items():
            if handler is not None:
                signal.signal(signum, handler)


def _of(shown: UserError | Interrupted, cfg: Any) -> Outcome:
    from vgm2p.config.job import this_job

    job = this_job(cfg)
    return Outcome(shown.exit_code, shown.line, job.out, job.words)


def _failed(shown: UserError | Interrupted, cfg: Any) -> Outcome:
    """Print why a cell failed, write it in its run folder if there is one, and return its outcome."""
    outcome = _of(shown, cfg)
    print(f"vgm2p: {outcome.line}", file=sys.stderr, flush=True)
    if isinstance(shown, Interrupted) or outcome.out is None:
        return outcome
    try:
        if (Path(outcome.out) / "manifest.json").exists():
            write_atomic(Path(outcome.out) / "status.json", json.dumps(asdict(outcome), indent=1))
    except OSError:
        print(f"vgm2p: {outcome.out}: status.json could not be written", file=sys.stderr)
    return outcome
