"""The point from which a run continues in its folder: the start, a checkpoint, or the end."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vgm2p.errors import ConfigError, DataError
from vgm2p.io.files import sha256_file
from vgm2p.run.checkpoint import digest_disagrees, read_checkpoint, update_of, verify, write_digest
from vgm2p.run.folder import RunFolder
from vgm2p.run.marks import changed_log, cut_to

# files of a run that ended before it wrote its manifest
LEFTOVERS = re.compile(r"\.lock|checkpoints|status\.json|tensorboard|compare-.+\.(log|json)|\..+\.tmp")


@dataclass
class ResumePoint:
    """The point from which a run continues.

    Attributes:
        checkpoint: the newest checkpoint that is intact and belongs to the run; None: the run starts at update 0.
        update: number of updates that the checkpoint contains.
        finished: whether the results exist, so that nothing is left to do.
        notices: lines about checkpoints that are skipped.
        marks: marks of the logs when the checkpoint was written; None without a checkpoint.
    """

    checkpoint: Path | None = None
    update: int = 0
    finished: bool = False
    notices: list[str] = field(default_factory=list)
    marks: Mapping[str, Any] | None = None


def find_resume_point(
    folder: RunFolder,
    updates: int,
    resume: str,
    changes: Callable[[Mapping[str, Any]], list[str]],
    misfit: Callable[[Mapping[str, Any], int], str | None],
) -> ResumePoint:
    """Return the point from which a run of `updates` updates continues in `folder`.

    Args:
        folder: the run folder; it exists.
        updates: the requested total number of updates.
        resume: `no` refuses a folder that contains a run.
        changes: maps a stored configuration to the settings that differ now, one line each.
        misfit: maps the content of a checkpoint and its number of updates to the reason why it does not belong to the
            run; None: it does.

    Raises:
        ConfigError: if the folder contains other files, a run with other settings, or more updates than requested.
        DataError: if its manifest is damaged, or if no checkpoint belongs to the run and its logs.
    """
    if not folder.manifest.exists():
        strangers = sorted(path.name for path in folder.path.iterdir() if not LEFTOVERS.fullmatch(path.name))
        if strangers:
            raise ConfigError(f"{folder.path} is not a run folder (it contains {strangers[0]}); choose another out=")
        return ResumePoint()
    if resume == "no":
        raise ConfigError(f"{folder.path} contains a run; use resume=auto to continue it, or choose another out=")
    changed = changes(folder.read_manifest()["config"])
    if changed:
        raise ConfigError(
            f"{folder.path} was started with other settings: {changed[0]}; undo this change, or choose another out="
        )
    if is_finished(folder, updates):
        return ResumePoint(update=updates, finished=True)
    point = _newest_of_the_run(folder, misfit)
    if point.update > updates:
        raise ConfigError(
            f"{folder.path} already has {point.update} updates, more than updates={updates}; raise updates"
        )
    if point.checkpoint is None and folder.results.exists():
        done = folder.read_results().get("updates")
        raise DataError(
            f"{folder.path} has results of {done} updates, but no checkpoint to go on from; put its checkpoints back, "
            "or choose another out="
        )
    return point


def _newest_of_the_run(folder: RunFolder, misfit: Callable[[Mapping[str, Any], int], str | None]) -> ResumePoint:
    """Return the newest checkpoint that is intact and belongs to the run and its logs, else the start.

    Raises DataError if there are intact checkpoints, and none of them belongs to the run and its logs.
    """
    notices: list[str] = []
    foreign: list[str] = []
    for path in sorted(folder.checkpoints.glob("update-*.ckpt"), reverse=True):
        try:
            verify(path)
        except DataError as error:
            notices.append(f"skipped {error.line}")
            continue
        try:
            content, update = read_checkpoint(path), update_of(path)
        except DataError as error:
            notices.append(f"skipped {error.line}")
            foreign.append(error.line)
            continue
        marks = content["vgm2p"].get("logs")
        reason = misfit(content, update)
        reason = f"it belongs to another run ({reason})" if reason else changed_log(folder, marks)
        if reason:
            notices.append(f"skipped {path}: {reason}")
            foreign.append(f"{folder.path} cannot go on: {path.name}: {reason}; restore it, or choose another out=")
            continue
        if digest_disagrees(path):
            write_digest(path, sha256_file(path))
            notices.append(f"wrote {path.name}.sha256 again")
        return ResumePoint(path, update, False, notices, marks)
    if foreign:
        raise DataError(foreign[0])
    return ResumePoint(notices=notices)


def is_finished(folder: RunFolder, updates: int) -> bool:
    """Return whether the folder holds the results of a run of `updates` updates."""
    return folder.manifest.exists() and folder.results.exists() and folder.read_results().get("updates") == updates


def cut_logs(folder: RunFolder, point: ResumePoint) -> None:
    """Delete the rows that were logged after `point`, and the results of a shorter run.

    The final evaluation of a shorter run is deleted as well, because it belongs to a run that ended there. The results
    go first: with them, the folder would be that of a finished run.
    """
    folder.results.unlink(missing_ok=True)
    if point.marks is not None:
        cut_to(folder, point.marks)
    else:
        folder.log_episodes().cut(0)
        folder.log_metrics().cut(0)
