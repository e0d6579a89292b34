"""The command line: the first word chooses `conf/<command>.yaml`; Hydra reads the other words."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from vgm2p import __version__
from vgm2p.bench.__main__ import main as bench
from vgm2p.errors import ConfigError, Interrupted, UserError, nearest
from vgm2p.io.faults import as_user_error
from vgm2p.io.files import write_atomic
from vgm2p.io.scratch import scratch_folder
from vgm2p.io.shell import noted, program
from vgm2p.run.sweep import Note, Sweep, Worker
from vgm2p.signals import StopFlag

Result = TypeVar("Result")
STOPPED = "the sweep was stopped, its runs have saved their state; the same command continues them"
USAGE = """{program} <command> [key=value ...]

  fit                       train and evaluate (default: bundled data, real MuJoCo, a few minutes)
  evaluate run=<folder>     roll out a trained policy again        [episodes=100 act_noise=0.5 video=true]
  estimate run=<folder>     how good a policy is, from data alone; several runs are ranked   [data=... share=0.1]
  collect policy=<run>|random|heuristic   record a dataset   [env=... episodes=50 noise=0.3 out=x.h5]
  data list [part of ids]   the published datasets; also: data fetch|convert|show|check <ids, files, vaults>
  report <runs...>          one table and one curve over run folders
  export run=<folder>       a policy as safetensors, ONNX and torch.export files   [agent=0 hub=<owner>/<name>]
  doctor                    what works on this machine, and how to fix what does not
  bench step|loop|rollout|act|data|gpu  measure speed, as ratios within one run (needs only torch and numpy)

Help on keys: {program} <command> --help; several runs: {program} fit -m algo=a,b seed=0,1
"""
COMMANDS = ("fit", "evaluate", "estimate", "collect", "data", "report", "export", "doctor", "bench")

STOP = StopFlag()
FAILURE: list[Exception] = []  # the exception of a single run; at most one
WORKER: list[Worker] = []  # what follows the command, if this is a worker process of a sweep; at most one


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code (see `vgm2p.errors`). An error is printed as one line on stderr."""
    line = list(sys.argv[1:] if arguments is None else arguments)
    STOP.signum, STOP.graceful = None, True  # until a command begins: imports of libraries are not to be interrupted
    STOP.install()
    try:
        with noted(line):
            return _main(line)
    except BrokenPipeError:  # the reader of our output, such as `head`, has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 128 + signal.SIGPIPE
    except (Exception, Interrupted) as error:
        return _fail(error)
    except KeyboardInterrupt:
        return _fail(Interrupted(signal.SIGINT, "stopped"))


def _main(line: list[str]) -> int:
    if not line or line[0] in ("-h", "--help", "help"):
        print(USAGE.format(program=program()))
        return 0
    if line[0] in ("-V", "--version"):
        print(f"vgm2p {__version__}")
        return 0
    command = line[0]
    if command not in COMMANDS:
        raise ConfigError(f"unknown command '{command}'{nearest(command, COMMANDS)}")
    if command == "bench":
        STOP.let_through()
        bench(line[1:])
        return 0
    return _hydra_command(command, line[1:])


def _hydra_command(command: str, words: list[str]) -> int:
    from vgm2p.config.command_line import hydra_words
    from vgm2p.config.compose import register_resolvers
    from vgm2p.config.help import help_page

    register_resolvers()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises its errors instead of printing them; `explain` shortens them
    asked = [word for word in words if word in ("-h", "--help")]
    overrides = hydra_words(command, [word for word in words if word not in asked])
    if asked:
        _explained(command, lambda: print(help_page(command, overrides)))
        return 0
    with scratch_folder("sweep") as folder:
        sweep = Sweep.begin(folder)
        STOP.tell = sweep.stop
        try:
            _hydra(command, overrides)
        finally:
            STOP.tell = lambda signum: None
        return _sweep_result(sweep.notes())


def _hydra(command: str, overrides: list[str]) -> None:
    import hydra

    from vgm2p.config.compose import config_folder

    sys.argv = [f"vgm2p {command}", *overrides]
    run = hydra.main(version_base="1.3", config_path=str(config_folder()), config_name=command)(cell)
    try:
        _explained(command, run)
    except Exception:
        if STOP.requested():  # the signal came first: it may have killed a worker process before its run began
            raise STOP.interruption(STOPPED) from None
        raise
    if FAILURE:
        raise FAILURE.pop()


def _explained(command: str, run: Callable[[], Result]) -> Result:
    """Return the result of `run`, which composes a configuration. Turn an error of Hydra into one line."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from vgm2p.config.hydra_errors import explain

    try:
        return run()
    except (HydraException, OmegaConfBaseException) as error:
        raise explain(error, command) from error


def cell(cfg: Any) -> None:
    """Run one composed configuration. In a sweep (multirun), note a failure and let the sweep continue."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    sweep = Sweep.joined()
    if HydraConfig.get().mode != RunMode.MULTIRUN:
        try:
            _run(cfg, single=True)
        except Exception as error:
            FAILURE.append(error)  # `_hydra` raises it; if it were raised here, Hydra would print a line of its own
    elif sweep.owner == os.getpid():
        try:
            _run_of_sweep(cfg, sweep)
        finally:
            STOP.graceful = True  # until the next run begins
    elif os.getppid() == sweep.owner:
        WORKER[:] = WORKER or [Worker(sweep, STOP)]
        with WORKER[0]:
            _run_in_worker(cfg, sweep)
    else:  # a launcher of another kind, such as one that submits jobs to a cluster
        _run_of_sweep(cfg, sweep)


def _run(cfg: Any, single: bool) -> None:
    """Do what a composed configuration describes."""
    from vgm2p.config.compose import resolve
    from vgm2p.config.nodes import settings_of
    from vgm2p.config.words import SETTINGS
    from vgm2p.io.text import say
    from vgm2p.run.folder import link_last

    command = _command()
    config = _explained(command, lambda: resolve(cfg))
    settings = settings_of(config, SETTINGS[command])
    work = importlib.import_module(f"vgm2p.commands.{command}").run
    STOP.let_through()
    try:
        work(settings, STOP)
    finally:
        if single and command == "fit":
            link_last(Path(settings.out), say)


def _command() -> str:
    from hydra.core.hydra_config import HydraConfig

    return str(HydraConfig.get().job.config_name)


def _run_of_sweep(cfg: Any, sweep: Sweep) -> None:
    try:
        _run(cfg, single=False)
    except Exception as error:
        _note_failure(sweep, as_user_error(error), cfg)


def _run_in_worker(cfg: Any, sweep: Sweep) -> None:
    """Run in a worker process of joblib. It must not raise, because joblib then kills the other workers."""
    STOP.graceful = True
    if signum := sweep.stopped():
        sweep.note(_note(Interrupted(signum, "not started"), cfg))
        return
    try:
        _run_of_sweep(cfg, sweep)
    except Interrupted as error:
        _note_failure(sweep, error, cfg)


def _note(shown: UserError | Interrupted, cfg: Any) -> Note:
    """Return what a sweep keeps about a run that failed or was stopped."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from vgm2p.config.compose import typed_words

    out: str | None = None
    with contextlib.suppress(OmegaConfBaseException):  # `out` itself may be what is wrong
        out = OmegaConf.select(cfg, "out")
    return Note(shown.exit_code, shown.line, out, typed_words(HydraConfig.get()))


def _note_failure(sweep: Sweep, shown: UserError | Interrupted, cfg: Any) -> None:
    """Print why a run of a sweep failed. Note it for the end of the sweep, and in its run folder if there is one."""
    note = _note(shown, cfg)
    sweep.note(note)
    print(f"vgm2p: {note.line}", file=sys.stderr, flush=True)
    if isinstance(shown, Interrupted) or note.out is None:
        return
    try:
        if (Path(note.out) / "manifest.json").exists():
            write_atomic(Path(note.out) / "status.json", json.dumps(asdict(note), indent=1))
    except OSError:
        print(f"vgm2p: {note.out}: status.json could not be written", file=sys.stderr)


def _sweep_result(notes: list[Note]) -> int:
    """Return the exit code of a sweep, and print which runs failed. Raises Interrupted if a signal stopped it."""
    if STOP.requested() and any(note.code == 128 + (STOP.signum or 0) for note in notes):
        raise STOP.interruption(STOPPED)
    if not notes:
        return 0
    print(f"\n{len(notes)} failed:", file=sys.stderr)
    for note in notes:
        print(f"  exit {note.code}  {' '.join(note.overrides)}  {note.line}", file=sys.stderr)
    return max(note.code for note in notes)


def _fail(error: Exception | Interrupted) -> int:
    if os.environ.get("VGM2P_DEBUG") == "1":
        traceback.print_exception(error)
    shown = error if isinstance(error, Interrupted) else as_user_error(error)
    print(f"vgm2p: {shown.line}", file=sys.stderr, flush=True)
    return shown.exit_code


def console() -> Any:
    """Entry point of the console script. As with `python -m vgm2p`, modules in the working folder can be imported."""
    if not sys.flags.safe_path:
        with contextlib.suppress(OSError):  # the working folder was deleted
            sys.path.insert(0, os.getcwd())
    raise SystemExit(main())
