"""Where a run folder stands: empty, to be continued, finished, or not ours to touch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vgm2p.errors import ConfigError
from vgm2p.run.checkpoint import newest_intact, update_of
from vgm2p.run.fingerprint import differences
from vgm2p.run.folder import RunFolder

# what a run that ended before its manifest was written may leave
OURS = re.compile(r"\.lock|checkpoints|status\.json|tensorboard|compare-.+\.(log|json)|\..+\.tmp")


@dataclass
class Standing:
    """Result of `inspect`: the checkpoint to continue from, or that the run is finished; notices for the user."""

    checkpoint: Path | None = None
    update: int = 0
    finished: bool = False
    notices: list[str] = field(default_factory=list)


def inspect(folder: RunFolder, config: Mapping[str, Any]) -> Standing:
    """Decide how to go on in `folder`.

    Raises:
        ConfigError: if the folder holds something else, another configuration, or more updates than asked for.
    """
    if not folder.manifest.exists():
        strangers = sorted(path.name for path in folder.path.iterdir() if not OURS.fullmatch(path.name))
        if strangers:
            raise ConfigError(
                f"{folder.path} is not empty and no run folder (holds {strangers[0]}); choose another out="
            )
        return Standing()
    if config["resume"] == "no":
        raise ConfigError(f"{folder.path} holds a run and resume=no; use resume=auto to continue it, or another out=")
    changed = differences(folder.read_manifest()["config"], config)
    if changed:
        raise ConfigError(
            f"{folder.path} was started with other settings: {changed[0]}; undo that, or use another out="
        )
    checkpoint, notices = newest_intact(folder.checkpoints)
    update = update_of(checkpoint) if checkpoint else 0
    if update > config["updates"]:
        raise ConfigError(
            f"{folder.path} already has {update} updates, more than updates={config['updates']}; ask for more"
        )
    return Standing(checkpoint, update, is_finished(folder, config["updates"]), notices)


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
