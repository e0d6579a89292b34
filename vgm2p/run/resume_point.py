"""Where a run goes on in its folder: from the beginning, after a checkpoint, or not at all."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vgm2p.errors import ConfigError, DataError
from vgm2p.run.checkpoint import newest_intact, update_of
from vgm2p.run.folder import RunFolder

# files that a run may leave that ended before its manifest was written
LEFTOVERS = re.compile(r"\.lock|checkpoints|status\.json|tensorboard|compare-.+\.(log|json)|\..+\.tmp")


@dataclass
class ResumePoint:
    """Where to go on in a run folder: after a checkpoint, from the beginning, or not at all.

    Attributes:
        checkpoint: the newest intact one; None: start.
        update: updates behind it.
        finished: whether the results are there.
        notices: lines about damaged checkpoints that were passed over.
    """

    checkpoint: Path | None = None
    update: int = 0
    finished: bool = False
    notices: list[str] = field(default_factory=list)


def find_resume_point(
    folder: RunFolder, updates: int, resume: str, changes: Callable[[Mapping[str, Any]], list[str]]
) -> ResumePoint:
    """Return where a run of `updates` updates goes on in `folder`.

    Args:
        folder: the run folder; it exists.
        updates: the total asked for.
        resume: `no` refuses a folder that holds a run.
        changes: the present settings that differ from those of a stored configuration, one line each.

    Raises:
        ConfigError: if the folder holds something else, another configuration, or more updates than asked for.
        DataError: if its manifest is damaged.
    """
    if not folder.manifest.exists():
        strangers = sorted(path.name for path in folder.path.iterdir() if not LEFTOVERS.fullmatch(path.name))
        if strangers:
            raise ConfigError(
                f"{folder.path} is not empty and no run folder (holds {strangers[0]}); choose another out="
            )
        return ResumePoint()
    if resume == "no":
        raise ConfigError(f"{folder.path} holds a run and resume=no; use resume=auto to continue it, or another out=")
    stored = folder.read_manifest().get("config")
    if not isinstance(stored, Mapping):
        raise DataError(f"{folder.manifest}: holds no configuration; restore it, or start the run in another folder")
    changed = changes(stored)
    if changed:
        raise ConfigError(
            f"{folder.path} was started with other settings: {changed[0]}; undo that, or use another out="
        )
    checkpoint, notices = newest_intact(folder.checkpoints)
    update = update_of(checkpoint) if checkpoint else 0
    if update > updates:
        raise ConfigError(f"{folder.path} already has {update} updates, more than updates={updates}; ask for more")
    return ResumePoint(checkpoint, update, is_finished(folder, updates), notices)


def is_finished(folder: RunFolder, updates: int) -> bool:
    """Whether the folder is that of a run with the results of so many updates."""
    return folder.manifest.exists() and folder.results.exists() and folder.read_results().get("updates") == updates


def cut_logs(folder: RunFolder, update: int) -> None:
    """Drop rows later than the restored update, and what a finished shorter run added to its last update."""
    if folder.results.exists():
        folder.log_episodes().truncate(update - 1)
        folder.results.unlink()
    elif any(int(row["update"]) == update and row["act_noise"] for row in folder.log_episodes().rows()):
        folder.log_episodes().truncate(update - 1)  # a final evaluation whose results were not written
    else:
        folder.log_episodes().truncate(update)
    folder.log_metrics().truncate(update)
