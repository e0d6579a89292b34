"""The point from which a run continues in its folder: the start, a checkpoint, or the end."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vgm2p.errors import ConfigError, DataError
from vgm2p.run.checkpoint import newest_intact, update_of
from vgm2p.run.folder import RunFolder

# files of a run that ended before it wrote its manifest
LEFTOVERS = re.compile(r"\.lock|checkpoints|status\.json|tensorboard|compare-.+\.(log|json)|\..+\.tmp")


@dataclass
class ResumePoint:
    """The point from which a run continues.

    Attributes:
        checkpoint: the newest intact checkpoint; None: the run starts at update 0.
        update: number of updates that the checkpoint contains.
        finished: whether the results exist, so that nothing is left to do.
        notices: lines about damaged checkpoints that are skipped.
    """

    checkpoint: Path | None = None
    update: int = 0
    finished: bool = False
    notices: list[str] = field(default_factory=list)


def find_resume_point(
    folder: RunFolder, updates: int, resume: str, changes: Callable[[Mapping[str, Any]], list[str]]
) -> ResumePoint:
    """Return the point from which a run of `updates` updates continues in `folder`.

    Args:
        folder: the run folder; it exists.
        updates: the requested total number of updates.
        resume: `no` refuses a folder that contains a run.
        changes: maps a stored configuration to the settings that differ now, one line each.

    Raises:
        ConfigError: if the folder contains other files, a run with other settings, or more updates than requested.
        DataError: if its manifest is damaged.
    """
    if not folder.manifest.exists():
        strangers = sorted(path.name for path in folder.path.iterdir() if not LEFTOVERS.fullmatch(path.name))
        if strangers:
            raise ConfigError(f"{folder.path} is not a run folder (it contains {strangers[0]}); choose another out=")
        return ResumePoint()
    if resume == "no":
        raise ConfigError(f"{folder.path} contains a run; use resume=auto to continue it, or choose another out=")
    stored = folder.read_manifest().get("config")
    if not isinstance(stored, Mapping):
        raise DataError(f"{folder.manifest}: has no configuration; restore it, or start the run in another folder")
    changed = changes(stored)
    if changed:
        raise ConfigError(
            f"{folder.path} was started with other settings: {changed[0]}; undo this change, or choose another out="
        )
    checkpoint, notices = newest_intact(folder.checkpoints)
    update = update_of(checkpoint) if checkpoint else 0
    if update > updates:
        raise ConfigError(f"{folder.path} already has {update} updates, more than updates={updates}; raise updates")
    return ResumePoint(checkpoint, update, is_finished(folder, updates), notices)


def is_finished(folder: RunFolder, updates: int) -> bool:
    """Return whether the folder holds the results of a run of `updates` updates."""
    return folder.manifest.exists() and folder.results.exists() and folder.read_results().get("updates") == updates


def cut_logs(folder: RunFolder, update: int) -> None:
    """Delete log rows after update `update`, from which the run continues.

    The final evaluation of a shorter run is deleted as well, because it belongs to a run that ended there.
    """
    if folder.results.exists():
        folder.log_episodes().truncate(update - 1)
        folder.results.unlink()
    elif any(int(row["update"]) == update and row["act_noise"] for row in folder.log_episodes().rows()):
        folder.log_episodes().truncate(update - 1)  # a final evaluation that did not write its results
    else:
        folder.log_episodes().truncate(update)
    folder.log_metrics().truncate(update)
