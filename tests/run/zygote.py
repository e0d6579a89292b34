"""Runs the program in a separate process that does not need to import torch and Lightning again.

A clean process, which has the imports and nothing else, is forked for every command (`multiprocessing`'s fork server).
What a command does to its process ends with it.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "vgm2p.cli",
        *(
            f"vgm2p.commands.{word}"
            for word in ("fit", "evaluate", "estimate", "collect", "data", "report", "export", "doctor")
        ),
    ]
)


def run(
    words: list[str], cwd: Path, variables: Mapping[str, str], scratch: Path, patch: str = "", timeout: float = 240.0
) -> subprocess.CompletedProcess[str]:
    """Run `vgm2p <words>` in `cwd` with exactly these environment variables; `patch` is executed before.

    Raises subprocess.TimeoutExpired after `timeout` seconds.
    """
    out, err = scratch / "stdout", scratch / "stderr"
    child = CONTEXT.Process(target=_command, args=(words, str(cwd), dict(variables), str(out), str(err), patch))
    child.start()
    child.join(timeout)
    if child.is_alive():
        child.kill()
        child.join()
        raise subprocess.TimeoutExpired(words, timeout, out.read_text(), err.read_text())
    return subprocess.CompletedProcess(words, child.exitcode, out.read_text(), err.read_text())


class Child:
    """A command that still runs, with what tests use of `subprocess.Popen`; its output comes through two named pipes."""

    def __init__(self, words: list[str], cwd: Path, variables: Mapping[str, str], patch: str = "") -> None:
        scratch = tempfile.mkdtemp()
        paths = [os.path.join(scratch, name) for name in ("stdout", "stderr")]
        for path in paths:
            os.mkfifo(path)
        self.process = CONTEXT.Process(target=_command, args=(words, str(cwd), dict(variables), *paths, patch))
        self.process.start()
        # each waits until the command has opened it, too
        self.stdout, self.stderr = (open(path) for path in paths)  # noqa: SIM115
        shutil.rmtree(scratch)

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    @property
    def returncode(self) -> int | None:
        return self.process.exitcode

    def poll(self) -> int | None:
        return self.process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.process.kill()

    def wait(self, timeout: float | None = None) -> None:
        self.process.join(timeout)

    def communicate(self, timeout: float) -> tuple[str, str]:
        """Return the rest of both streams once the command has ended."""
        with ThreadPoolExecutor(2) as pool:
            streams = [pool.submit(stream.read) for stream in (self.stdout, self.stderr)]
            self.process.join(timeout)
            if self.process.is_alive():
                self.process.kill()
            out, err = (stream.result() for stream in streams)
        return out, err


def _command(words: list[str], cwd: str, variables: dict[str, str], out: str, err: str, patch: str) -> None:
    for descriptor, path in enumerate((os.devnull, out, err)):
        os.dup2(os.open(path, os.O_RDONLY if descriptor == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout, sys.stderr = (os.fdopen(descriptor, "w", buffering=1, closefd=False) for descriptor in (1, 2))
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup, which ignores it
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(cwd)
    sys.path[:0] = ["", *variables.get("PYTHONPATH", "").split(os.pathsep)]  # as `python -m` has it
    code: object = 1
    try:
        exec(patch, {})
        from vgm2p.cli import main

        code = main(words)
    except SystemExit as stop:  # Hydra's --help
        code = stop.code
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)
