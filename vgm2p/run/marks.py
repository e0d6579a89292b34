"""Marks of a run's logs: checkpoints and results.json hold them, so that changed, lost or doubled rows are noticed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vgm2p.run.csv_log import CsvLog
from vgm2p.run.folder import RunFolder

METRICS, EPISODES, EARLIER = "metrics", "episodes", "earlier_episodes"


def marks_at(folder: RunFolder, update: int) -> dict[str, Any]:
    """Return the marks for the checkpoint of `update` updates: of both logs, and of the episodes before this update.

    The last one is for a run that first ends at this update and later goes on: its final evaluation has replaced the
    rows of this update. Raises DataError if episodes.csv is damaged.
    """
    episodes = folder.log_episodes()
    return {METRICS: folder.log_metrics().mark(), EPISODES: episodes.mark(), EARLIER: episodes.mark(before=update)}


def final_marks(folder: RunFolder) -> dict[str, Any]:
    """Return the marks for results.json: of both logs at the end of the run."""
    return {METRICS: folder.log_metrics().mark(), EPISODES: folder.log_episodes().mark()}


def changed_log(folder: RunFolder, marks: Any) -> str | None:
    """Return a reason if a log does not begin with the rows of `marks`; None if it does."""
    if not _agrees(folder.log_metrics(), marks, METRICS):
        return _changed(folder.log_metrics())
    if not (_agrees(folder.log_episodes(), marks, EPISODES) or _agrees(folder.log_episodes(), marks, EARLIER)):
        return _changed(folder.log_episodes())
    return None


def changed_since_the_end(folder: RunFolder, results: Mapping[str, Any]) -> list[Path]:
    """Return the logs of a finished run that are not as they were when it ended.

    Results of an older version have no marks; nothing is returned for them.
    """
    marks = results.get("logs")
    if marks is None:
        return []
    now = final_marks(folder)
    logs = {METRICS: folder.metrics, EPISODES: folder.episodes}
    return [path for name, path in logs.items() if not isinstance(marks, Mapping) or marks.get(name) != now[name]]


def cut_to(folder: RunFolder, marks: Mapping[str, Any]) -> None:
    """Delete the rows that were written after `marks`, with which the logs begin.

    If the rows of the last update have changed, they are deleted as well; the run repeats this evaluation.
    """
    folder.log_metrics().cut(marks[METRICS]["bytes"])
    episodes = folder.log_episodes()
    episodes.cut(marks[EPISODES if _agrees(episodes, marks, EPISODES) else EARLIER]["bytes"])


def _agrees(log: CsvLog, marks: Any, name: str) -> bool:
    mark = marks.get(name) if isinstance(marks, Mapping) else None
    return isinstance(mark, Mapping) and log.agrees(mark)


def _changed(log: CsvLog) -> str:
    if not log.path.exists():
        return f"{log.path.name} is missing"
    return f"rows of {log.path.name} were changed or lost since"
