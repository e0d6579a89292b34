"""Simulators in worker processes, which answer requests through a pipe within a time limit.

A worker that hangs, fails or dies is killed, together with all processes that it started. The next request starts a new
worker. A worker has its own process group and session, so Ctrl-C does not reach it. When its parent ends, even if it is
killed, the worker kills its process group, including itself.
"""

from __future__ import annotations

import contextlib
import os
import pkgutil
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from vgm2p.errors import RolloutStopped, UserError
from vgm2p.io.processes import child_environment, end_with_parent
from vgm2p.io.scratch import Scratch

Request = tuple[Any, ...]  # name of a method and its arguments
PATIENCE = 0.5  # seconds between two checks of `stop`
CAUSE = 90  # largest number of characters of a cause, so that the message fits into one line
LINES = 50  # number of last lines that are kept of each log
LOGS = ("log", "*.log", "*Errors.txt")  # names of logs in the folder of a worker


@dataclass(frozen=True)
class Lost:
    """Takes the place of an answer if the worker, and with it the simulation, is lost.

    Attributes:
        cause: what happened, in a few words.
        log: the last lines that the worker and its processes have written.
    """

    cause: str
    log: str = ""


class Worker:
    """One process that creates an object and calls its methods.

    Args:
        factory: `module:name` of the function or class that creates the object.
        arguments: its keyword arguments, sent by pickle.
        environment: environment variables of the process, in addition to those of this process.
    """

    def __init__(self, factory: str, arguments: Mapping[str, Any], environment: Mapping[str, str]) -> None:
        self._folder = Scratch("worker")
        self.scratch = str(self._folder.path)
        self.connection, theirs = Pipe()
        with open(os.path.join(self.scratch, "log"), "wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "vgm2p.envs.workers", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=child_environment({"TMPDIR": self.scratch, **environment}),
            )
        theirs.close()
        self.send((factory, dict(arguments)))

    def send(self, message: Any) -> None:
        """Send a message without waiting. If the process has died, `receive` reports it."""
        with contextlib.suppress(OSError):
            self.connection.send(message)

    def receive(self) -> Any:
        """Return the answer, or `Lost`. Raises the UserError that the object raised."""
        try:
            kind, value = self.connection.recv()
        except (EOFError, OSError):
            return Lost(self._death())
        if kind == "refused":
            raise value
        return Lost(value) if kind == "failed" else value

    def tail(self) -> str:
        """Return the last lines of every log in the worker's folder, each under its name."""
        found = {}
        for path in (path for name in LOGS for path in Path(self.scratch).rglob(name) if path.is_file()):
            with contextlib.suppress(OSError):  # the processes still run, and may delete it
                found[path] = path.read_bytes()
        parts = []
        for path, content in sorted(found.items()):
            lines = content.decode(errors="replace").rstrip().splitlines()[-LINES:]
            parts += [f"== {path.relative_to(self.scratch)} (last {len(lines)} lines)", *lines] if lines else []
        return "\n".join(parts)

    def kill(self) -> None:
        """Kill the process and all processes that it started, and delete its temporary files."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)  # before the first wait, so the process id cannot be reused yet
        self.process.wait()
        self.connection.close()
        self._folder.remove()

    def _death(self) -> str:
        code = self._ending()
        with open(os.path.join(self.scratch, "log"), errors="replace") as log:
            last = log.read()[-2000:].strip().splitlines()[-1:]
        return f"its process died, code {code}" + "".join(f": {line}"[:CAUSE] for line in last)

    def _ending(self) -> int | None:
        """Wait up to a second for the exit code. Do not reap the process: its id must stay reserved until `kill`."""
        for _ in range(20):
            ended = os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
            if ended is not None:
                return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
            time.sleep(0.05)
        return None


class Pool:
    """Numbered workers. A worker starts at its first request.

    Args:
        factory: `module:name` of the function or class that creates the object of a worker.
        arguments: keyword arguments of the factory.
        environment: further environment variables of the workers.
    """

    def __init__(
        self, factory: str, arguments: Mapping[str, Any], environment: Mapping[str, str] | None = None
    ) -> None:
        self.factory, self.arguments, self.environment = factory, arguments, dict(environment or {})
        self._workers: dict[int, Worker] = {}

    def ask(
        self, requests: Mapping[int, Request], seconds: float, stop: Callable[[], bool] = lambda: False
    ) -> dict[int, Any]:
        """Send each worker its request, and return worker number -> answer; `Lost` if there is none within `seconds`.

        Raises:
            UserError: if a worker raised it, for example because something is missing on this machine.
            RolloutStopped: if `stop` returns True during the waiting. All workers are ended.
        """
        waiting: dict[Any, int] = {}
        for number, request in requests.items():
            worker = self._started(number)
            worker.send(request)
            waiting[worker.connection] = number
        found: dict[int, Any] = {}
        deadline = time.monotonic() + seconds
        while waiting:
            left = max(0.0, deadline - time.monotonic())
            ready = wait(list(waiting), min(left, PATIENCE))
            for connection in ready:
                number = waiting.pop(connection)
                found[number] = self._answer(number)
            if not ready and stop():
                self.close()
                raise RolloutStopped
            if not ready and left <= PATIENCE:
                break
        for number in waiting.values():
            found[number] = self._lose(number, Lost(f"no answer within {seconds:g} s"))
        return found

    def close(self) -> None:
        """Kill all workers. The next request starts new ones."""
        while self._workers:
            self._workers.popitem()[1].kill()

    def _started(self, number: int) -> Worker:
        if number not in self._workers:
            self._workers[number] = Worker(self.factory, self.arguments, self.environment)
        return self._workers[number]

    def _answer(self, number: int) -> Any:
        try:
            answer = self._workers[number].receive()
        except UserError:
            self.close()
            raise
        return self._lose(number, answer) if isinstance(answer, Lost) else answer

    def _lose(self, number: int, lost: Lost) -> Lost:
        worker = self._workers.pop(number)
        lost = replace(lost, log=worker.tail())
        worker.kill()
        return lost


def serve(connection: Any) -> None:
    """Answer requests until the pipe ends. The first request creates the object, so its failure becomes an answer."""
    factory, arguments = connection.recv()
    target: Any = None
    while True:
        try:
            name, *values = connection.recv()
        except EOFError:
            return
        try:
            if target is None:
                target = pkgutil.resolve_name(factory)(**arguments)
            answer: tuple[str, Any] = ("done", getattr(target, name)(*values))
        except UserError as error:
            answer = ("refused", error)
        except Exception as error:  # after any error of the simulator, the episode cannot continue
            answer = ("failed", f"{type(error).__name__}: {' '.join(str(error).split())}"[:CAUSE])
        connection.send(answer)


def end() -> None:
    """Kill this process and all processes that it started."""
    shutil.rmtree(tempfile.gettempdir(), ignore_errors=True)
    os.killpg(os.getpgrp(), signal.SIGKILL)


def main(descriptor: int) -> None:
    """Serve one end of a socket pair. Temporary files go to the folder that `Worker` has created."""
    tempfile.tempdir = os.environ["TMPDIR"]
    end_with_parent(end)
    serve(Connection(descriptor))
    end()


if __name__ == "__main__":
    main(int(sys.argv[1]))
