"""Starts a command with its settings. The command line and the functions for Python programs (`vgm2p.api`) use it."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

from vgm2p.io.text import say
from vgm2p.run.folder import link_last
from vgm2p.signals import StopFlag
from vgm2p.training.comparisons import FOLDER_FILE


def start(command: str, settings: Any, stop: StopFlag, single: bool = True) -> Any:
    """Do what the settings of a command say, and return what the command returns.

    Args:
        command: name of a module in `vgm2p.commands`.
        settings: its settings; the class is in `vgm2p.config.words.SETTINGS`.
        stop: tells whether a signal asked to stop.
        single: whether the command starts this run only. `runs/last` then leads to a run of `fit` that is no comparison
            run of another one.

    Raises:
        UserError: for everything that a user can cause.
        Interrupted: if a signal stopped the command.
    """
    work = importlib.import_module(f"vgm2p.commands.{command}").run
    stop.let_through()
    linked = single and command == "fit" and FOLDER_FILE not in os.environ  # `fit` takes it out
    try:
        return work(settings, stop)
    finally:
        if linked:
            link_last(Path(settings.out), say)
