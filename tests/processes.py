"""Processes that the product has started, found by their command lines."""

from __future__ import annotations

import contextlib

import psutil


def children(pid: int, word: str) -> list[psutil.Process]:
    """Return the children of a process that still run and whose command line holds `word`.

    A child may end at any moment while it is looked at; it is then left out.
    """
    found = []
    for child in psutil.Process(pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):  # also a zombie: it has no command line
            found += [child] if any(word in each for each in child.cmdline()) else []
    return found


def runs(pid: int) -> bool:
    """Whether a process exists and has not ended; a zombie has."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False
