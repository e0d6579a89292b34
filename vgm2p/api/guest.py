"""Runs a command inside the program of somebody else, and leaves the process as it was."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Iterator

import numpy as np
import torch

from vgm2p.errors import Interrupted, UserError
from vgm2p.io.faults import one_line
from vgm2p.signals import StopFlag

TURN = threading.RLock()  # commands change what a process has once, so the calls of several threads take turns
LOGGERS = ("lightning", "lightning.pytorch", "lightning.fabric", "lightning.pytorch.profilers")


@contextlib.contextmanager
def guest(quiet: bool = False) -> Iterator[StopFlag]:
    """Yield the flag that tells whether a signal asked to stop. Every error of the block becomes a `UserError`.

    In the main thread, signals are handled in the block: a run saves its state before it stops. Then the signal goes to
    the handler that it had before; Ctrl-C becomes a KeyboardInterrupt.

    Args:
        quiet: whether to print nothing.
    """
    stop = StopFlag()
    try:
        with one_line(), TURN, _unchanged(), _silence() if quiet else contextlib.nullcontext(), stop.installed():
            yield stop
    except Interrupted as error:
        _deliver(stop.signum or signal.SIGTERM, error.line)


def _deliver(signum: int, line: str) -> None:
    """Give a signal to its handler. If the program goes on after that, raise an error that says what was saved."""
    if signal.getsignal(signum) is signal.default_int_handler:
        raise KeyboardInterrupt(line) from None
    signal.raise_signal(signum)
    raise UserError(line) from None


@contextlib.contextmanager
def _unchanged() -> Iterator[None]:
    """Restore after the block what commands change in their own process.

    These are environment variables, the import path, CPU threads, random numbers, warnings and levels of loggers.
    """
    variables, path = dict(os.environ), list(sys.path)
    threads, cache = torch.get_num_threads(), torch.is_autocast_cache_enabled()
    numbers = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002 - of the caller
    levels = {name: logging.getLogger(name).level for name in LOGGERS}
    try:
        with warnings.catch_warnings():
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        random.setstate(numbers[0])
        np.random.set_state(numbers[1])  # noqa: NPY002
        torch.set_rng_state(numbers[2])
        torch.set_autocast_cache_enabled(cache)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        sys.path[:] = path
        for name in os.environ.keys() - variables.keys():
            del os.environ[name]
        os.environ.update(variables)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Discard what the block prints."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        yield
