"""The command line: the first word chooses `conf/<command>.yaml`; Hydra reads the other words."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from io import TextIOWrapper
from typing import Any

from vgm2p import __version__
from vgm2p.bench.__main__ import main as bench
from vgm2p.errors import ConfigError, Interrupted, nearest
from vgm2p.io.faults import as_user_error
from vgm2p.io.scratch import scratch_folder
from vgm2p.io.shell import noted, program
from vgm2p.io.text import flush, say
from vgm2p.run.sweep import Sweep
from vgm2p.sweeps.cells import FAILURE, STOP, cell, run_sweep

USAGE = """{program} <command> [key=value ...]

  fit                       train and evaluate (default: bundled data, real MuJoCo, a few minutes)
  evaluate run=<folder>     roll out a trained policy again        [episodes=100 act_noise=0.5 video=true]
  estimate run=<folder>     how good a policy is, from data alone; several runs are ranked   [data=... share=0.1]
  collect policy=<run>|random|heuristic   record a dataset   [env=... episodes=50 noise=0.3 out=x.h5]
  data list [part of ids]   the published datasets; also: data fetch|convert|show|check <ids, files, vaults>
  report <runs...>          one table and one curve over run folders
  export run=<folder>       a policy as safetensors, ONNX and torch.export files   [agent=0 hub=<owner>/<name>]
  doctor                    what works on this machine, and how to fix what does not
  bench step|loop|rollout|act|data|gpu  measure speed, as ratios within one run

Help on keys: {program} <command> --help; several runs: {program} fit -m algo=a,b seed=0,1
"""
COMMANDS = ("fit", "evaluate", "estimate", "collect", "data", "report", "export", "doctor", "bench")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code (see `vgm2p.errors`). An error is printed as one line on stderr."""
    line = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a name that the terminal cannot show must not end a command
            stream.reconfigure(errors="backslashreplace")
    STOP.signum, STOP.graceful = None, True  # until a command begins: imports of libraries are not to be interrupted
    STOP.install()
    try:
        with noted(line):
            code = _main(line)
        flush()
        return code
    except BrokenPipeError:  # the reader of our output, such as `head`, has closed it
        _drain()
        return 128 + signal.SIGPIPE
    except (Exception, Interrupted) as error:
        return _fail(error)
    except KeyboardInterrupt:
        return _fail(Interrupted(signal.SIGINT, "stopped"))


def _main(line: list[str]) -> int:
    if not line or line[0] in ("-h", "--help", "help"):
        say(USAGE.format(program=program()).rstrip("\n"))
        return 0
    if line[0] in ("-V", "--version"):
        say(f"vgm2p {__version__}")
        return 0
    command = line[0]
    if command not in COMMANDS:
        raise ConfigError(f"unknown command '{command}'{_meant(command)}")
    if command == "bench":
        STOP.let_through()
        bench(line[1:])
        return 0
    return _hydra_command(command, line[1:])


def _meant(word: str) -> str:
    """Return the hint about an unknown command: `data list` if it is an action of `data`, else the nearest command."""
    from vgm2p.config.words import ACTIONS

    return f"; did you mean `vgm2p data {word}`?" if word in ACTIONS else nearest(word, COMMANDS)


def _hydra_command(command: str, words: list[str]) -> int:
    from vgm2p.config.command_line import MULTIRUN, hydra_words
    from vgm2p.config.compose import groups, register_resolvers
    from vgm2p.config.help import group_page, help_page
    from vgm2p.config.hydra_errors import explained

    register_resolvers()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises its errors instead of printing them; `explain` shortens them
    asked = [word for word in words if word in ("-h", "--help")]
    named = [word for word in words if asked and word in groups()]
    dropped = (*asked, *named, *(MULTIRUN if asked else ()))
    overrides = hydra_words(command, [word for word in words if word not in dropped])
    if asked:
        page = "\n\n".join(map(group_page, named)) if named else ""
        explained(command, lambda: say(page or help_page(command, overrides)))
        return 0
    if not any(word in MULTIRUN for word in overrides):
        _hydra(command, overrides)
        if FAILURE:
            raise FAILURE.pop()
        return 0
    with scratch_folder("sweep") as folder:
        sweep = Sweep.begin(folder)
        STOP.tell = sweep.stop
        try:
            return run_sweep(command, sweep, lambda: _hydra(command, overrides))
        finally:
            STOP.tell = lambda signum: None


def _hydra(command: str, overrides: list[str]) -> None:
    import hydra

    from vgm2p.config.compose import config_folder
    from vgm2p.config.hydra_errors import explained

    sys.argv = [f"vgm2p {command}", *overrides]
    explained(command, hydra.main(version_base="1.3", config_path=str(config_folder()), config_name=command)(cell))


def _fail(error: Exception | Interrupted) -> int:
    if os.environ.get("VGM2P_DEBUG") == "1":
        traceback.print_exception(error)
    shown = error if isinstance(error, Interrupted) else as_user_error(error)
    with contextlib.suppress(OSError):
        print(f"vgm2p: {shown.line}", file=sys.stderr, flush=True)
    _drain()
    return shown.exit_code


def _drain() -> None:
    """Send what cannot be written nowhere: Python would try it once more when it exits, and fail."""
    for descriptor, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


def console() -> Any:
    """Entry point of the console script. As with `python -m vgm2p`, modules in the working folder can be imported."""
    if not sys.flags.safe_path:
        with contextlib.suppress(OSError):  # the working folder was deleted
            sys.path.insert(0, os.getcwd())
    raise SystemExit(main())
