"""Asynchronous evaluation: a child process evaluates snapshots of the weights, so training does not wait.

The child (`python -m vgm2p.execution.beside`) reads snapshots from its standard input, one after another. It evaluates
each on one CPU thread, in the same way as the synchronous evaluation, and writes one line of JSON. While it evaluates,
it writes an empty line every few seconds. A child that is silent for `PATIENCE` seconds hangs, and is killed. When its
parent ends, the child ends, too.
"""

from __future__ import annotations

import io
import json
import os
import queue
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, BinaryIO

import torch

from vgm2p.algos.contract import Algorithm
from vgm2p.envs.base import Evaluation, Unplayed
from vgm2p.errors import Diverged, ServiceError, UserError
from vgm2p.execution.rollout import Unplayable
from vgm2p.io.processes import child_environment, end_with_parent
from vgm2p.signals import SIGNALS

LENGTH = struct.Struct("<Q")
PATIENCE = 600.0  # seconds of silence after which a child hangs: starting a simulator or compiling it takes minutes
BEAT = 2.0  # seconds between two signs of life
Child = subprocess.Popen[bytes]
# To the child: plain containers and tensors, None at the end. From it: lines, "" at the end.
Messages = queue.Queue[Any]


class Evaluator:
    """The parent's side: submit snapshots, and collect finished evaluations in the same order.

    Args:
        config: configuration of the run, as plain containers.
        patience: seconds of silence after which the child is killed.

    Attributes:
        command: the command that starts a child.
        pending: number of snapshots whose evaluation has not been collected.
    """

    command: Sequence[str] = (sys.executable, "-m", "vgm2p.execution.beside")

    def __init__(self, config: Mapping[str, Any], patience: float = PATIENCE) -> None:
        self._config, self._patience = dict(config), patience
        self._silent = 0.0  # for how many seconds the child has been silent while it should work
        self._hung = False
        self._process: Child | None = None
        self._answers: Messages = queue.Queue()
        self._outbox: Messages = queue.Queue()
        self.pending = 0

    def submit(self, update: int, algorithm: Algorithm, episodes: int) -> None:
        """Send a snapshot of the weights to the child. Returns at once."""
        if self._process is None:
            self._outbox.put({"config": self._config, "spec": algorithm.spec.to_dict()})
            self._start()
        # a copy, because training continues to change the weights
        weights = {name: value.detach().to("cpu", copy=True) for name, value in algorithm.state_dict().items()}
        self._outbox.put({"update": update, "episodes": episodes, "weights": weights})
        self.pending += 1

    def collect(self, wait: float = 0.0) -> list[Evaluation]:
        """Return the finished evaluations in order. Wait up to `wait` seconds for the first.

        Raises Diverged if no seed has a usable policy, and ServiceError if an evaluation failed or the child died.
        """
        found = []
        while self.pending:
            try:
                line = self._answers.get(timeout=wait) if wait else self._answers.get_nowait()
            except queue.Empty:
                break
            self.pending -= 1
            died = f"it hung for {self._patience:.0f} s" if self._hung else "its process died"
            answer: dict[str, Any] = json.loads(line) if line else {"error": died}
            if "error" in answer:
                if answer.get("diverged"):
                    raise Diverged(answer["error"])
                line = f"asynchronous evaluation failed: {answer['error']}; eval_async=false shows more"
                raise Unplayable(line, Unplayed(**answer["failure"])) if "failure" in answer else ServiceError(line)
            found.append(Evaluation.from_plain(answer))
            wait = 0.0
        return found

    def close(self) -> None:
        """Kill the child. Unfinished evaluations are lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            self._outbox.put(None)  # ends the thread that sends
        self._outbox, self._answers = queue.Queue(), queue.Queue()  # the next child gets no old message
        self.pending = 0

    def _start(self) -> None:
        self._process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=child_environment({"CUDA_VISIBLE_DEVICES": ""}),
        )
        child = (self._process, self._outbox, self._answers)
        for work in (self._listen, self._write, self._watch):
            threading.Thread(target=work, args=child, daemon=True).start()

    def _write(self, process: Child, outbox: Messages, answers: Messages) -> None:
        """Send the messages of the outbox. Runs in a thread: a write of more than 64 KiB waits for the child."""
        assert process.stdin is not None
        while process.poll() is None:
            try:
                message = outbox.get()
                if message is None:
                    return
                buffer = io.BytesIO()
                torch.save(message, buffer)
                process.stdin.write(LENGTH.pack(buffer.tell()) + buffer.getvalue())
                process.stdin.flush()
            except OSError:  # the child has died; `_listen` reports it
                return
            except Exception as error:
                answers.put(json.dumps({"error": f"{type(error).__name__}: {error}"}))
                return

    def _listen(self, process: Child, outbox: Messages, answers: Messages) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._silent = 0.0
            if line.strip():
                answers.put(line.decode())
        answers.put("")

    def _watch(self, process: Child, outbox: Messages, answers: Messages) -> None:
        """Kill a child that hangs. The seconds are counted here, so those of a suspended machine do not count."""
        pause = min(1.0, self._patience / 4)
        while process.poll() is None:
            time.sleep(pause)
            self._silent = self._silent + pause if self.pending else 0.0
            if self._silent >= self._patience:
                self._hung = True
                process.kill()


def receive(stream: BinaryIO) -> Any:
    """Return the next message of the stream; None at its end."""
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    body = stream.read(LENGTH.unpack(head)[0])
    if len(body) < LENGTH.unpack(head)[0]:  # the parent was killed while it sent the message
        return None
    return torch.load(io.BytesIO(body), weights_only=True)


class Beat:
    """Writes an empty line at most every `BEAT` seconds, as a sign that the environment steps."""

    def __init__(self, answer: Callable[[str], None]) -> None:
        self.answer, self.last = answer, time.monotonic()

    def __call__(self, step: int, ended: int, total: int) -> None:
        """Take notice of an environment step."""
        if time.monotonic() - self.last >= BEAT:
            self.last = time.monotonic()
            self.answer("")


def serve(source: BinaryIO, answer: Callable[[str], None]) -> None:
    """Evaluate the snapshots of `source` until it ends, and pass one line of JSON for each to `answer`."""
    from vgm2p.config.build import make_algorithm, make_env
    from vgm2p.config.nodes import settings_of
    from vgm2p.config.settings import FitSettings
    from vgm2p.execution.evaluation import evaluate
    from vgm2p.types import Spec

    setup = receive(source)
    if setup is None:
        return
    settings = settings_of(setup["config"], FitSettings)
    algorithm, env = make_algorithm(settings.policy, Spec(**setup["spec"])), make_env(settings.env)
    beat = Beat(answer)
    while (snapshot := receive(source)) is not None:
        algorithm.load_state_dict(snapshot["weights"])
        update, count = snapshot["update"], snapshot["episodes"]
        found = evaluate(algorithm, env, update, count, lambda: False, on_step=beat, precision=settings.eval_precision)
        answer(json.dumps(asdict(found)))


def end() -> None:
    """End this process at once: nobody reads its results any more."""
    os._exit(1)


def main() -> None:
    """Serve standard input. Signals to the process group are ignored; the parent handles them and ends this process."""
    end_with_parent(end)
    for signum in SIGNALS:
        signal.signal(signum, signal.SIG_IGN)
    torch.set_num_threads(1)
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # text that a simulator prints must not mix with the answers

    def answer(line: str) -> None:
        try:
            out.write(line + "\n")
        except OSError:  # the parent has ended
            end()

    try:
        serve(sys.stdin.buffer, answer)
    except Unplayable as error:
        answer(json.dumps({"error": error.line, "failure": asdict(error.failure)}))
    except Diverged as error:
        answer(json.dumps({"error": error.line, "diverged": True}))
    except UserError as error:
        answer(json.dumps({"error": error.line}))
    except Exception as error:  # the user must see every other failure, too
        answer(json.dumps({"error": f"{type(error).__name__}: {error}"[:150]}))


if __name__ == "__main__":
    main()
