"""The command line: the first word chooses `conf/<command>.yaml`; Hydra reads the other words."""

from __future__ import annotations

import importlib
import json
import os
import secrets
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from vgm2p import __version__
from vgm2p.bench.__main__ import main as bench
from vgm2p.errors import ConfigError, Interrupted, nearest
from vgm2p.io.faults import as_user_error
from vgm2p.io.files import write_atomic
from vgm2p.signals import StopFlag

Result = TypeVar("Result")
SWEEP = "VGM2P_SWEEP"  # environment variable: the folder where the runs of a sweep write their failures
USAGE = """vgm2p <command> [key=value ...]

  fit                       train and evaluate (default: bundled data, real MuJoCo, a few minutes)
  evaluate run=<folder>     roll out a trained policy again        [episodes=100 act_noise=0.5 video=true]
  estimate run=<folder>     how good a policy is, from data alone; several runs are ranked   [data=... share=0.1]
  collect policy=<run>|random|heuristic   record a dataset   [env=... episodes=50 noise=0.3 out=x.h5]
  data list [part of ids]   the published datasets; also: data fetch|convert|show|check <ids, files, vaults>
  report <runs...>          one table and one curve over run folders
  doctor                    what works on this machine, and how to fix what does not
  bench step|loop|rollout|act|data|gpu  measure speed, as ratios within one run (needs only torch and numpy)

Help on keys: vgm2p <command> --help; several runs: vgm2p fit -m algo=a,b seed=0,1
"""
COMMANDS = ("fit", "evaluate", "estimate", "collect", "data", "report", "doctor", "bench")

STOP = StopFlag()
FAILURE: list[Exception] = []  # the exception of a single run; at most one


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code (see `vgm2p.errors`). An error is printed as one line on stderr."""
    line = list(sys.argv[1:] if arguments is None else arguments)
    STOP.install()
    try:
        return _main(line)
    except BrokenPipeError:  # the reader of our output, such as `head`, has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 128 + signal.SIGPIPE
    except Exception as error:
        return _fail(error)
    except KeyboardInterrupt:
        return _fail(Interrupted(signal.SIGINT, "stopped"))


def _main(line: list[str]) -> int:
    if not line or line[0] in ("-h", "--help", "help"):
        print(USAGE)
        return 0
    if line[0] in ("-V", "--version"):
        print(f"vgm2p {__version__}")
        return 0
    command = line[0]
    if command not in COMMANDS:
        raise ConfigError(f"unknown command '{command}'{nearest(command, COMMANDS)}")
    if command == "bench":
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
    with tempfile.TemporaryDirectory() as failures:
        os.environ[SWEEP] = failures
        _hydra(command, overrides)
        return _sweep_result(Path(failures))


def _hydra(command: str, overrides: list[str]) -> None:
    import hydra

    from vgm2p.config.compose import config_folder

    sys.argv = [f"vgm2p {command}", *overrides]
    _explained(command, hydra.main(version_base="1.3", config_path=str(config_folder()), config_name=command)(cell))
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

    from vgm2p.config.compose import resolve
    from vgm2p.config.nodes import settings_of
    from vgm2p.config.words import SETTINGS
    from vgm2p.io.text import say
    from vgm2p.run.folder import link_last

    hydra_config = HydraConfig.get()
    command, single = str(hydra_config.job.config_name), hydra_config.mode != RunMode.MULTIRUN
    config: dict[str, Any] = {}
    try:
        config = _explained(command, lambda: resolve(cfg))
        settings = settings_of(config, SETTINGS[command])
        try:
            importlib.import_module(f"vgm2p.commands.{command}").run(settings, STOP)
        finally:
            if single and command == "fit":
                link_last(Path(settings.out), say)
    except Exception as error:
        if single:
            FAILURE.append(error)  # `_hydra` raises it; if it were raised here, Hydra would print a line of its own
        elif isinstance(error, Interrupted):
            raise
        else:
            _note_failure(error, config.get("out"), list(hydra_config.overrides.task))


def _note_failure(error: Exception, out: str | None, overrides: list[str]) -> None:
    """Print why a run of a sweep failed. Note it for the end of the sweep, and in the run folder if it exists."""
    shown = as_user_error(error)
    status = {"code": shown.exit_code, "line": shown.line, "out": out, "overrides": overrides}
    text = json.dumps(status, indent=1)
    (Path(os.environ[SWEEP]) / f"{secrets.token_hex(8)}.json").write_text(text)
    try:
        if out is not None and Path(out).is_dir():
            write_atomic(Path(out) / "status.json", text)
    except OSError:
        print(f"vgm2p: {out}: status.json could not be written", file=sys.stderr)
    print(f"vgm2p: {shown.line}", file=sys.stderr)


def _sweep_result(failures: Path) -> int:
    notes = [json.loads(path.read_text()) for path in sorted(failures.glob("*.json"))]
    if not notes:
        return 0
    print(f"\n{len(notes)} failed:", file=sys.stderr)
    for note in notes:
        print(f"  exit {note['code']}  {' '.join(note['overrides'])}  {note['line']}", file=sys.stderr)
    return max(int(note["code"]) for note in notes)


def _fail(error: BaseException) -> int:
    if os.environ.get("VGM2P_DEBUG") == "1":
        traceback.print_exception(error)
    shown = as_user_error(error)
    print(f"vgm2p: {shown.line}", file=sys.stderr, flush=True)
    return shown.exit_code


def console() -> Any:
    """Entry point of the console script."""
    raise SystemExit(main())
